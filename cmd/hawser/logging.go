package main

import (
	"context"
	"io"
	"log/slog"
	"sync"

	"k8s.io/klog/v2"

	"hawser.dev/hawser/config"
)

// newLogger returns a logger that writes to w as l says.
func newLogger(w io.Writer, l config.Log) *slog.Logger {
	options := &slog.HandlerOptions{Level: l.Level}
	if l.Format == config.LogJSON {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

var klogOnce sync.Once

// quietKlog keeps what client-go logs by itself from the user, who is told of
// every error anyway, unless they debug. client-go has one logger per process,
// and it must not change while it is in use: the first call decides.
func quietKlog(log *slog.Logger) {
	klogOnce.Do(func() {
		if log.Enabled(context.Background(), slog.LevelDebug) {
			klog.SetSlogLogger(log.With("component", "client-go"))
			return
		}
		klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	})
}
