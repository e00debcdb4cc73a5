package disks

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"google.golang.org/grpc"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// Register makes a served driver known to a kubelet: it serves a second socket
// in kubelet's folder plugins_registry, whose appearance kubelet notices and by
// which it asks for the driver's name and socket. The folder is created if
// kubelet has not started yet. The driver is unknown again after stop.
func (s *Server) Register(folder string) (stop func(), err error) {
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return nil, fmt.Errorf("register driver %s: %w", s.options.Driver, err)
	}
	listener, err := listen(filepath.Join(folder, s.options.Driver+"-reg.sock"))
	if err != nil {
		return nil, fmt.Errorf("register driver %s: %w", s.options.Driver, err)
	}
	server := grpc.NewServer()
	registration.RegisterRegistrationServer(server, &registrar{driver: s.options.Driver, socket: s.options.Socket, log: s.options.Log})
	go func() {
		if err := server.Serve(listener); err != nil {
			s.options.Log.Error("registration server ended", "driver", s.options.Driver, "error", err)
		}
	}()
	return server.Stop, nil
}

// registrar is the registration service.
type registrar struct {
	registration.UnsafeRegistrationServer
	driver, socket string
	log            *slog.Logger
}

func (r *registrar) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{
		Type:              registration.CSIPlugin,
		Name:              r.driver,
		Endpoint:          r.socket,
		SupportedVersions: []string{"1.0.0"}, // of CSI
	}, nil
}

func (r *registrar) NotifyRegistrationStatus(_ context.Context, status *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	if status.GetPluginRegistered() {
		r.log.Info("kubelet knows the driver", "driver", r.driver)
	} else {
		r.log.Error("kubelet refuses the driver", "driver", r.driver, "error", status.GetError())
	}
	return &registration.RegistrationStatusResponse{}, nil
}
