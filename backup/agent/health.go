package agent

import (
	"fmt"
	"net/http"
	"time"
)

// stuckAfter is how long the loop may be away before the process is taken to
// be stuck: it comes round once a minute, and a candidate sees the leader renew
// its Lease more often than that.
const stuckAfter = 5 * time.Minute

// Handler serves the health checks: /healthz fails if the agent is stuck and
// only a restart helps; /readyz fails if it leads and cannot work, for instance
// because the store cannot be reached. Both say why.
func (a *Agent) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", a.serve(func(s Status) string {
		if away := a.Clock.Since(s.Seen); away > stuckAfter {
			return fmt.Sprintf("the loop has not come round for %s", away.Round(time.Second))
		}
		return ""
	}))
	mux.HandleFunc("GET /readyz", a.serve(func(s Status) string {
		switch {
		case s.Leading && s.Problem != "":
			return s.Problem
		case s.Leading && !s.Working:
			return "taking over"
		}
		return ""
	}))
	return mux
}

func (a *Agent) serve(problem func(Status) string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		status := a.Status()
		if p := problem(status); p != "" {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, p)
			return
		}
		fmt.Fprintln(w, "ok")
	}
}
