package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Request is what the API server noted of one request.
type Request struct {
	User        string
	UserAgent   string
	Verb        string // as RBAC has it: get, list, watch, create, update, patch, delete, ...
	Resource    string // plural, as persistentvolumeclaims; "" for what is no resource
	Subresource string // as status
	Namespace   string
	Name        string
	URI         string
	Code        int       // of the response; 0 for a watch that is still open
	At          time.Time // when it came in
}

// AuditLog returns the path of the audit log, or "" without Options.Audit.
func (c *Cluster) AuditLog() string {
	if !c.opts.Audit {
		return ""
	}
	return filepath.Join(c.opts.LogDir, "audit.log")
}

// Requests returns all requests that were answered before the call, by whomever,
// and the watches that are open, in the order in which they were noted. It needs
// Options.Audit.
func (c *Cluster) Requests(ctx context.Context) ([]Request, error) {
	if !c.opts.Audit {
		return nil, fmt.Errorf("cluster %s keeps no audit log; set Options.Audit", c.opts.Name)
	}
	// The server notes a request just after it has answered it. So ask for
	// something that can be recognised, and read until that is noted.
	marker := fmt.Sprintf("%s%d", markers, time.Now().UnixNano())
	client, err := kubernetes.NewForConfig(c.RESTConfig(marker))
	if err != nil {
		return nil, fmt.Errorf("read the audit log: %w", err)
	}
	if _, err := client.CoreV1().Namespaces().Get(ctx, "default", metav1.GetOptions{}); err != nil {
		return nil, fmt.Errorf("read the audit log: %w", err)
	}
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		requests, noted, err := c.audit.readUntil(c.AuditLog(), marker)
		if err != nil || noted {
			return requests, err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("read the audit log: %w", context.Cause(ctx))
		}
	}
}

// markers is how the user agents of the requests begin by which Requests finds
// out how far the log is.
const markers = ownAgent + "-audit-"

// auditLog is what was read of an audit log so far, of which each line is read
// once: logs grow long, and are asked for often.
type auditLog struct {
	mu       sync.Mutex
	offset   int64 // of the first line that was not read
	requests []Request
	known    map[string]int // index in requests by audit ID
}

// readUntil reads what is new, and says whether the request of that user agent is
// noted. If so it returns all requests, without any markers.
func (a *auditLog) readUntil(file, marker string) (requests []Request, noted bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.read(file); err != nil {
		return nil, false, err
	}
	for _, request := range slices.Backward(a.requests) {
		if request.UserAgent == marker {
			all := slices.Clone(a.requests)
			return slices.DeleteFunc(all, func(r Request) bool { return strings.HasPrefix(r.UserAgent, markers) }), true, nil
		}
	}
	return nil, false, nil
}

// read reads what is new: each request once, though the server notes a watch
// twice, when it begins and when it ends. A last line that is not complete yet is
// left for the next time.
func (a *auditLog) read(file string) error {
	log, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("read the audit log: %w", err)
	}
	defer log.Close()
	if _, err := log.Seek(a.offset, io.SeekStart); err != nil {
		return fmt.Errorf("read the audit log: %w", err)
	}
	if a.known == nil {
		a.known = map[string]int{}
	}
	lines := bufio.NewReaderSize(log, 1<<20)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the audit log: %w", err)
		}
		var event auditEvent
		if err := json.Unmarshal(line, &event); err != nil {
			return fmt.Errorf("read %s: line %q: %w", file, line, err)
		}
		a.offset += int64(len(line))
		a.add(event)
	}
}

func (a *auditLog) add(event auditEvent) {
	if i, ok := a.known[event.AuditID]; ok {
		a.requests[i] = event.request()
		return
	}
	a.known[event.AuditID] = len(a.requests)
	a.requests = append(a.requests, event.request())
}

// auditEvent is what we use of k8s.io/apiserver/pkg/apis/audit/v1.Event.
type auditEvent struct {
	AuditID    string `json:"auditID"`
	Stage      string `json:"stage"`
	RequestURI string `json:"requestURI"`
	Verb       string `json:"verb"`
	User       struct {
		Username string `json:"username"`
	} `json:"user"`
	UserAgent string `json:"userAgent"`
	ObjectRef struct {
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
	} `json:"objectRef"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	RequestReceivedTimestamp time.Time `json:"requestReceivedTimestamp"`
}

func (e auditEvent) request() Request {
	r := Request{
		User:        e.User.Username,
		UserAgent:   e.UserAgent,
		Verb:        e.Verb,
		Resource:    e.ObjectRef.Resource,
		Subresource: e.ObjectRef.Subresource,
		Namespace:   e.ObjectRef.Namespace,
		Name:        e.ObjectRef.Name,
		URI:         e.RequestURI,
		At:          e.RequestReceivedTimestamp,
	}
	if e.Stage == "ResponseComplete" || e.Stage == "Panic" {
		r.Code = e.ResponseStatus.Code
	}
	return r
}

// CountRequests counts the requests of those whose userAgent begins so, by verb
// and resource: "create volumesnapshots", "update volumesnapshots/status", and
// "get /version" for what is no resource.
func CountRequests(requests []Request, userAgent string) map[string]int {
	counts := map[string]int{}
	for _, request := range requests {
		if strings.HasPrefix(request.UserAgent, userAgent) {
			counts[request.what()]++
		}
	}
	return counts
}

func (r Request) what() string {
	resource := r.Resource
	if resource == "" {
		resource, _, _ = strings.Cut(r.URI, "?")
	}
	if r.Subresource != "" {
		resource += "/" + r.Subresource
	}
	return r.Verb + " " + resource
}
