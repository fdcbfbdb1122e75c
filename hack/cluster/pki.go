// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"
)

// lifetime of certificates. A cluster is for tests; nothing in it is renewed.
const lifetime = 90 * 24 * time.Hour

// authority signs every certificate of the cluster.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  []byte
}

// pair is a certificate with its key, as PEM.
type pair struct{ cert, key []byte }

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "lti-cluster"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	if err := fill(template); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign the authority's certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	return &authority{key: key, cert: cert, pem: encode("CERTIFICATE", der)}, err
}

// issue signs a certificate that is good for servers with these names, and for clients.
func (a *authority) issue(subject pkix.Name, names []string, addresses []net.IP) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, err
	}
	template := &x509.Certificate{
		Subject:     subject,
		DNSNames:    names,
		IPAddresses: addresses,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	if err := fill(template); err != nil {
		return pair{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return pair{}, fmt.Errorf("sign the certificate of %s: %w", subject.CommonName, err)
	}
	encoded, err := encodeKey(key)
	return pair{cert: encode("CERTIFICATE", der), key: encoded}, err
}

func fill(template *x509.Certificate) error {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	template.SerialNumber = serial
	// Clocks of the same machine do not differ, but its own may be set back.
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(lifetime)
	return nil
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return encode("EC PRIVATE KEY", der), nil
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// writeKeys makes the keys of the cluster and a kubeconfig for each of its parts.
func (c *cluster) writeKeys() error {
	ca, err := newAuthority()
	if err != nil {
		return err
	}
	caKey, err := encodeKey(ca.key)
	if err != nil {
		return err
	}
	accounts, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	accountsKey, err := encodeKey(accounts)
	if err != nil {
		return err
	}
	files := map[string][]byte{"ca.crt": ca.pem, "ca.key": caKey, "service-accounts.key": accountsKey}

	addresses := []net.IP{c.net.apiService.AsSlice(), c.net.node.AsSlice(), net.IPv4(127, 0, 0, 1)}
	for name, subject := range map[string]pkix.Name{
		"apiserver":                {CommonName: "kube-apiserver"},
		"apiserver-kubelet-client": {CommonName: "kube-apiserver-kubelet-client", Organization: []string{"system:masters"}},
		"kubelet-server":           {CommonName: nodeName},
	} {
		names := []string{nodeName}
		if name == "apiserver" {
			names = append(names, "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc."+clusterDomain)
		}
		p, err := ca.issue(subject, names, addresses)
		if err != nil {
			return err
		}
		files[name+".crt"], files[name+".key"] = p.cert, p.key
	}
	if err := os.MkdirAll(c.path("keys"), 0o700); err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(c.path("keys", name), content, 0o600); err != nil {
			return err
		}
	}
	server := "https://" + net.JoinHostPort(c.net.node.String(), apiPort)
	for file, subject := range map[string]pkix.Name{
		"kubeconfig":                                {CommonName: "admin", Organization: []string{"system:masters"}},
		"config/kubelet.kubeconfig":                 {CommonName: "system:node:" + nodeName, Organization: []string{"system:nodes"}},
		"config/kube-controller-manager.kubeconfig": {CommonName: "system:kube-controller-manager"},
		"config/kube-scheduler.kubeconfig":          {CommonName: "system:kube-scheduler"},
		"config/kube-proxy.kubeconfig":              {CommonName: "system:kube-proxy"},
	} {
		p, err := ca.issue(subject, nil, nil)
		if err != nil {
			return err
		}
		b64 := base64.StdEncoding.EncodeToString
		content := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- name: lti-cluster
  cluster:
    server: %s
    certificate-authority-data: %s
users:
- name: %s
  user:
    client-certificate-data: %s
    client-key-data: %s
contexts:
- name: lti-cluster
  context:
    cluster: lti-cluster
    user: %[3]s
current-context: lti-cluster
`, server, b64(ca.pem), subject.CommonName, b64(p.cert), b64(p.key))
		if err := os.WriteFile(c.path(file), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}
