package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// pki is the cluster's certificate authority. It signs the one certificate that
// the servers show, and a client certificate for whoever asks: the API server
// takes user and groups from that.
type pki struct {
	dir  string
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	ca   []byte // PEM of cert
}

// Files of the pki that components are told of.
func (p *pki) caFile() string         { return filepath.Join(p.dir, "ca.crt") }
func (p *pki) serverCert() string     { return filepath.Join(p.dir, "server.crt") }
func (p *pki) serverKey() string      { return filepath.Join(p.dir, "server.key") }
func (p *pki) kubeletCert() string    { return filepath.Join(p.dir, "kubelet-client.crt") }
func (p *pki) kubeletKey() string     { return filepath.Join(p.dir, "kubelet-client.key") }
func (p *pki) serviceAccount() string { return filepath.Join(p.dir, "service-account.key") }

// newPKI makes the authority, and in dir the files that components read.
func newPKI(dir string) (*pki, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the cluster's certificates: %w", err)
	}
	p := &pki{dir: dir}
	if err := p.makeAuthority(); err != nil {
		return nil, fmt.Errorf("make the cluster's certificate authority: %w", err)
	}
	cert, key, err := p.sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "127.0.0.1"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 96, 0, 1)},
		DNSNames:    []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return nil, err
	}
	kubeletCert, kubeletKey, err := p.client(apiServer, nil) // what a kubelet knows the API server by
	if err != nil {
		return nil, err
	}
	_, serviceAccount, err := newKey()
	if err != nil {
		return nil, fmt.Errorf("make the key of service accounts: %w", err)
	}
	for file, data := range map[string][]byte{
		p.caFile():         p.ca,
		p.serverCert():     cert,
		p.serverKey():      key,
		p.kubeletCert():    kubeletCert,
		p.kubeletKey():     kubeletKey,
		p.serviceAccount(): serviceAccount,
	} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			return nil, fmt.Errorf("write the cluster's certificates: %w", err)
		}
	}
	return p, nil
}

func (p *pki) makeAuthority() (err error) {
	if p.key, _, err = newKey(); err != nil {
		return err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "hawser-e2e"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	if err := fillIn(template); err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, p.key.Public(), p.key)
	if err != nil {
		return err
	}
	p.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	p.cert, err = x509.ParseCertificate(der)
	return err
}

// client makes a certificate and key, in PEM, with which the API server knows
// the bearer as this user in these groups.
func (p *pki) client(user string, groups []string) (cert, key []byte, err error) {
	return p.sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// sign makes a key and, from the template, its certificate.
func (p *pki) sign(template *x509.Certificate) (certPEM, keyPEM []byte, err error) {
	key, keyPEM, err := newKey()
	if err == nil {
		err = fillIn(template)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("make a certificate for %s: %w", template.Subject.CommonName, err)
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, p.cert, key.Public(), p.key)
	if err != nil {
		return nil, nil, fmt.Errorf("make a certificate for %s: %w", template.Subject.CommonName, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), keyPEM, nil
}

// fillIn gives a template what all certificates have: a serial number and a
// validity that begins early, for machines that just set their clock.
func fillIn(template *x509.Certificate) (err error) {
	template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	template.NotBefore = time.Now().Add(-24 * time.Hour)
	template.NotAfter = template.NotBefore.AddDate(1, 0, 0)
	return err
}

func newKey() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}
