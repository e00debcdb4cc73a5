package s3

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/minio/minio-go/v7"

	"hawser.dev/hawser/catalog"
)

func isCode(err error, code string) bool {
	var response minio.ErrorResponse
	return errors.As(err, &response) && response.Code == code
}

// isConflict reports whether the store could not decide between writers of the
// same key. https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
func isConflict(err error) bool {
	return isCode(err, "ConditionalRequestConflict") || isCode(err, "OperationAborted") || isCode(err, minio.Conflict)
}

// failed says what could not be done where, and what the user can do about it.
func (b *Bucket) failed(what string, err error) error {
	if remedy := b.remedy(err); remedy != "" {
		return fmt.Errorf("%s in %v: %w; %s", what, b, err, remedy)
	}
	return fmt.Errorf("%s in %v: %w", what, b, err)
}

// remedy returns "" if there is nothing to add to the error.
func (b *Bucket) remedy(err error) string {
	for _, told := range []error{catalog.ErrExist, catalog.ErrNotExist, catalog.ErrTooLarge, context.Canceled} {
		if errors.Is(err, told) {
			return ""
		}
	}
	var response minio.ErrorResponse
	if errors.As(err, &response) {
		return b.answerRemedy(response)
	}
	return networkRemedy(err)
}

// answerRemedy is for what the store answered.
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
func (b *Bucket) answerRemedy(response minio.ErrorResponse) string {
	switch response.Code {
	case minio.NoSuchBucket:
		return fmt.Sprintf("create the bucket %s, or correct its name in store.url", b.name)
	case minio.NoSuchKey:
		return "what answers there does not seem to be an S3 server; correct endpoint in store.url"
	case minio.AccessDenied, "AllAccessDisabled", "AccountProblem":
		return fmt.Sprintf("the keys (%s) must be allowed s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket", b.keysOrigin)
	case "InvalidAccessKeyId", "XAdminUserNotFound": // the latter is versitygw's
		return fmt.Sprintf("the store does not know the access key (%s)", b.keysOrigin)
	case "SignatureDoesNotMatch":
		return fmt.Sprintf("the secret key is not the one of the access key (%s)", b.keysOrigin)
	case "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken":
		return fmt.Sprintf("renew the session token (%s)", b.keysOrigin)
	case "RequestTimeTooSkewed":
		return "set the clock of this machine: it differs from the store's by more than the store allows"
	case "AuthorizationHeaderMalformed", minio.InvalidRegion, "PermanentRedirect", "TemporaryRedirect", "IllegalLocationConstraintException":
		return fmt.Sprintf("set region=%s in store.url", firstOf(response.Region, "… (that of the bucket)"))
	case minio.NotImplemented:
		return "the store lacks a part of S3 that the catalog needs (conditional writes, perhaps); use another"
	case "QuotaExceeded", "XMinioStorageFull", "InsufficientStorage":
		return "make room in the store, or raise its quota"
	case "SlowDown", "ServiceUnavailable", "InternalError":
		return "the store is overloaded or ill; try again later"
	}
	return ""
}

// networkRemedy is for requests that got no answer.
func networkRemedy(err error) string {
	var name *net.DNSError
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var request *url.Error
	switch {
	case errors.As(err, &name):
		return "correct endpoint in store.url, or the name server of this machine"
	case errors.As(err, &unknown):
		return "set ca-file=… in store.url to the certificate of the authority that vouches for the store"
	case errors.As(err, &host):
		return "the endpoint in store.url must be a name that the store's certificate is for"
	case errors.As(err, &invalid):
		return "renew the store's certificate, or set the clock of this machine"
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return "the endpoint in store.url does not speak TLS: write http://, or give the server a certificate"
	case errors.As(err, &request):
		return "the store cannot be reached; check endpoint in store.url, the network, and the store itself"
	}
	return ""
}
