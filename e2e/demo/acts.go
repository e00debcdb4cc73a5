package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hawser.dev/hawser/e2e/seed"
)

const replicas = 3

func claimName(ordinal int) string { return fmt.Sprintf("redis-pvc-redis-%d", ordinal) }

// prologue deploys Redis in the first cluster and writes on each disk.
func (s *stage) prologue(ctx context.Context) error {
	title("A StatefulSet with three disks, on a class whose policy is Delete")
	manifest := append([]byte("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"), seed.RedisRoles.In("shop")...)
	if err := s.first.Apply(ctx, manifest); err != nil {
		return err
	}
	if err := s.awaitReady(ctx, s.first); err != nil {
		return err
	}
	var err error
	if s.handles, err = s.handlesIn(ctx, s.first); err != nil {
		return err
	}
	s.secrets = map[string]string{}
	for _, claim := range slices.Sorted(maps.Keys(s.handles)) {
		s.secrets[claim] = rand.Text()
		if err := os.WriteFile(s.file(s.handles[claim], "capital-australia"), []byte("Canberra "+s.secrets[claim]), 0o600); err != nil {
			return err
		}
		fmt.Printf("  %s  on disk %s holds %q\n", claim, s.handles[claim], "Canberra "+s.secrets[claim])
	}
	return s.expectRedis(ctx, s.first, "OK", "SET", "capital:australia", "Canberra")
}

// act1 loses every Kubernetes object and brings the set back on its disks.
func (s *stage) act1(ctx context.Context) error {
	title("Act 1: back up, lose every object, restore on the same disks")
	if err := s.run(ctx, s.first, "backup", "statefulset/redis", "-n", "shop"); err != nil {
		return err
	}
	if err := s.run(ctx, s.first, "points"); err != nil {
		return err
	}
	s.later = rand.Text()
	fmt.Printf("\nAfter the backup, one more write on each disk: %q\n", s.later)
	for _, handle := range s.handles {
		if err := os.WriteFile(s.file(handle, "after-the-backup"), []byte(s.later), 0o600); err != nil {
			return err
		}
	}
	if err := s.expectRedis(ctx, s.first, "OK", "SET", "capital:usa", "Washington"); err != nil {
		return err
	}
	if err := s.lose(ctx, s.first); err != nil {
		return err
	}
	if err := s.run(ctx, s.first, "restore", "latest"); err != nil {
		return err
	}
	if err := s.awaitReady(ctx, s.first); err != nil {
		return err
	}
	if err := s.proveSameDisks(ctx, s.first); err != nil {
		return err
	}
	proved("the Pods run, each claim is on the disk it had before, and every byte is there, also what was written after the backup")
	return nil
}

// act2 moves on to the second, empty cluster: refused while the first has the
// disks attached, done when it has let go.
func (s *stage) act2(ctx context.Context) error {
	title("Act 2: restore into a second, empty cluster in the same region")
	fmt.Println("The first cluster still runs the set. The second must not take its disks:")
	if err := s.expectRefusal(ctx, s.second, "restore", "latest"); err != nil {
		return err
	}
	claims, err := s.clientset(s.second).CoreV1().PersistentVolumeClaims("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	if len(claims.Items) != 0 {
		return fmt.Errorf("the refused restore left %d claims", len(claims.Items))
	}
	proved("a restore over disks that another cluster has attached is refused, and leaves nothing behind")
	fmt.Println("\nThe first cluster lets go of them:")
	if err := s.scaleDown(ctx, s.first); err != nil {
		return err
	}
	if err := s.run(ctx, s.second, "restore", "latest"); err != nil {
		return err
	}
	if err := s.awaitReady(ctx, s.second); err != nil {
		return err
	}
	if err := s.proveSameDisks(ctx, s.second); err != nil {
		return err
	}
	proved("the set runs in the second cluster, on the same disks, with every byte")
	return nil
}

// act3 loses the disks as well.
func (s *stage) act3(ctx context.Context) error {
	title("Act 3: the disks are gone too; restore from the snapshots")
	if err := s.lose(ctx, s.second); err != nil {
		return err
	}
	for _, handle := range s.handles {
		if err := s.region.DestroyDisk(handle); err != nil {
			return err
		}
	}
	left, err := s.region.Disks()
	if err != nil {
		return err
	}
	if len(left) != 0 {
		return fmt.Errorf("the region still has %d disks", len(left))
	}
	fmt.Println("The three disks are destroyed; the region holds none.")
	if err := s.run(ctx, s.second, "restore", "latest"); err != nil {
		return err
	}
	if err := s.awaitReady(ctx, s.second); err != nil {
		return err
	}
	now, err := s.handlesIn(ctx, s.second)
	if err != nil {
		return err
	}
	for claim, handle := range now {
		if handle == s.handles[claim] {
			return fmt.Errorf("claim %s is on disk %s, which was destroyed", claim, handle)
		}
		if err := s.expectFile(handle, "capital-australia", "Canberra "+s.secrets[claim]); err != nil {
			return fmt.Errorf("claim %s: %w", claim, err)
		}
		if _, err := os.Stat(s.file(handle, "after-the-backup")); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("claim %s holds a write from after the backup: %v", claim, err)
		}
	}
	err = errors.Join(
		s.expectRedis(ctx, s.second, "Canberra", "GET", "capital:australia"),
		s.expectRedis(ctx, s.second, "", "GET", "capital:usa"))
	if err != nil {
		return err
	}
	proved("the set runs on new disks, with every byte of the time of the backup, and none of later")
	return nil
}

// proveSameDisks reads everything back in the cluster of l.
func (s *stage) proveSameDisks(ctx context.Context, l *theatre) error {
	now, err := s.handlesIn(ctx, l)
	if err != nil {
		return err
	}
	if !maps.Equal(now, s.handles) {
		return fmt.Errorf("the claims are on disks %v, they were on %v", now, s.handles)
	}
	for claim, handle := range now {
		err := errors.Join(
			s.expectFile(handle, "capital-australia", "Canberra "+s.secrets[claim]),
			s.expectFile(handle, "after-the-backup", s.later))
		if err != nil {
			return fmt.Errorf("claim %s: %w", claim, err)
		}
	}
	return errors.Join(
		s.expectRedis(ctx, l, "Canberra", "GET", "capital:australia"),
		s.expectRedis(ctx, l, "Washington", "GET", "capital:usa"))
}

func (s *stage) file(handle, name string) string {
	return filepath.Join(s.region.DataDir(handle), name)
}

func (s *stage) expectFile(handle, name, want string) error {
	got, err := os.ReadFile(s.file(handle, name))
	if err != nil {
		return err
	}
	if !bytes.Equal(got, []byte(want)) {
		return fmt.Errorf("%s on disk %s holds %q, want %q", name, handle, got, want)
	}
	return nil
}

func title(text string) { fmt.Printf("\n=== %s\n", text) }

func proved(text string) { fmt.Printf("\nPROVED: %s.\n", strings.TrimSuffix(text, ".")) }
