package objectstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

const startTimeout = 30 * time.Second

// errDied says that the server ended by itself while it was starting.
var errDied = errors.New("the server ended by itself")

// makeBucket creates the bucket as soon as the server answers.
func (s *Server) makeBucket(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	client, err := s.client()
	if err != nil {
		return err
	}
	for {
		err := client.MakeBucket(ctx, s.Bucket, minio.MakeBucketOptions{Region: s.Region})
		if err == nil || minio.ToErrorResponse(err).Code == minio.BucketAlreadyOwnedByYou {
			return nil
		}
		select {
		case <-s.process.exited:
			return errDied
		case <-ctx.Done():
			return fmt.Errorf("no answer within %v: %w", startTimeout, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *Server) client() (*minio.Client, error) {
	transport, err := minio.DefaultTransport(s.CAFile != "")
	if err != nil {
		return nil, err
	}
	if s.CAFile != "" {
		if transport.TLSClientConfig.RootCAs, err = s.roots(); err != nil {
			return nil, err
		}
	}
	return minio.New(net.JoinHostPort("127.0.0.1", s.port), &minio.Options{
		Creds:      credentials.NewStaticV4(s.AccessKey, s.SecretKey, ""),
		Secure:     s.CAFile != "",
		Region:     s.Region,
		Transport:  transport,
		MaxRetries: 1,
	})
}
