package seed_test

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hawser.dev/hawser/e2e/seed"
)

// server writes and reads words through a database server itself.
type server interface {
	write(w *world, word string)
	read(w *world) []string // sorted
}

// redisServer is the Redis in Pod redis-0, or another ordinal's.
type redisServer struct{ pod string }

func (s redisServer) cli(w *world, args ...string) string {
	w.t.Helper()
	out, err := w.exec(s.pod, "redis-container", append([]string{"redis-cli"}, args...)...)
	w.must(err)
	return out
}

func (s redisServer) write(w *world, word string) {
	w.t.Helper()
	if out := s.cli(w, "SET", word, "1"); out != "OK" {
		w.t.Fatalf("SET %s: %s", word, out)
	}
}

func (s redisServer) read(w *world) []string {
	w.t.Helper()
	words := strings.Fields(s.cli(w, "KEYS", "*"))
	slices.Sort(words)
	return words
}

// mariaDBServer is the MariaDB of the one Pod with this label.
type mariaDBServer struct{ label string }

// pod is the name of the Pod, which a Deployment makes up.
func (s mariaDBServer) pod(w *world) string {
	w.t.Helper()
	pods, err := w.client.CoreV1().Pods(w.namespace).List(w.ctx, metav1.ListOptions{LabelSelector: s.label})
	w.must(err)
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp == nil && pod.Status.Phase == corev1.PodRunning {
			return pod.Name
		}
	}
	w.t.Fatalf("no Pod runs with label %s", s.label)
	return ""
}

func (s mariaDBServer) sql(w *world, statement string) string {
	w.t.Helper()
	out, err := w.exec(s.pod(w), "mariadb-container", "mariadb", "-uroot", "-p"+seed.RootPassword, "-N", "-e", statement)
	w.must(err)
	return out
}

func (s mariaDBServer) write(w *world, word string) {
	w.t.Helper()
	s.sql(w, fmt.Sprintf("CREATE DATABASE IF NOT EXISTS t; CREATE TABLE IF NOT EXISTS t.words (word VARCHAR(64) PRIMARY KEY) ENGINE=InnoDB; INSERT INTO t.words VALUES ('%s')", word))
}

func (s mariaDBServer) read(w *world) []string {
	w.t.Helper()
	return strings.Fields(s.sql(w, "SELECT word FROM t.words ORDER BY word"))
}
