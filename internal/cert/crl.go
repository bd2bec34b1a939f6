package cert

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// revocations are the CRLs of one file. A nil one takes nothing back.
type revocations struct {
	sum   [sha256.Size]byte // of the file
	lists []revoked
}

// revoked is what is kept of one CRL. Who made it is known by name, as the
// certificates say it.
type revoked struct {
	issuer  []byte // the name as bytes
	name    string // and as a text
	next    time.Time
	serials map[string]bool
	// proof has the signature of a list that no certificate of the CA file has made: who
	// made it is seen at the handshake. Nil where one has.
	proof *x509.RevocationList
}

const crlBlock = "X509 CRL"

// parseRevocations reads CRLs, as PEM or as one of DER. A list in the name of one
// of the authorities must be signed by it.
func parseRevocations(content []byte, authorities []*x509.Certificate) (*revocations, error) {
	r := &revocations{sum: sha256.Sum256(content)}
	ders := [][]byte{content}
	if begin := []byte("-----BEGIN " + crlBlock + "-----"); bytes.Contains(content, begin) {
		ders = nil
		for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
			if block.Type == crlBlock {
				ders = append(ders, block.Bytes)
			}
		}
		if len(ders) != bytes.Count(content, begin) {
			return nil, errors.New("it is damaged: a CRL in it has no end")
		}
	}
	for _, der := range ders {
		one, err := parseList(der, authorities)
		if err != nil {
			return nil, err
		}
		r.lists = append(r.lists, *one)
	}
	return r, nil
}

// Extensions that change what a list means.
var (
	deltaIndicator    = asn1.ObjectIdentifier{2, 5, 29, 27}
	certificateIssuer = asn1.ObjectIdentifier{2, 5, 29, 29}
)

func parseList(der []byte, authorities []*x509.Certificate) (*revoked, error) {
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, fmt.Errorf("it is no CRL: %w", err)
	}
	for _, e := range list.Extensions {
		if e.Id.Equal(deltaIndicator) {
			return nil, errors.New("it has a delta CRL: only whole lists are supported")
		}
	}
	r := &revoked{
		issuer: bytes.Clone(list.RawIssuer), name: list.Issuer.String(), next: list.NextUpdate,
		serials: make(map[string]bool, len(list.RevokedCertificateEntries)),
	}
	for _, e := range list.RevokedCertificateEntries {
		for _, x := range e.Extensions {
			if x.Id.Equal(certificateIssuer) {
				return nil, errors.New("it has an indirect CRL: a list must be of the certificates of who has signed it")
			}
		}
		r.serials[serial(e.SerialNumber)] = true
	}
	named, signed := false, false
	for _, a := range authorities {
		if bytes.Equal(a.RawSubject, list.RawIssuer) {
			named = true
			signed = signed || signedBy(list, a)
		}
	}
	switch {
	case named && !signed:
		return nil, r.forged()
	case !signed:
		r.proof = &x509.RevocationList{SignatureAlgorithm: list.SignatureAlgorithm, RawTBSRevocationList: list.RawTBSRevocationList, Signature: list.Signature}
	}
	return r, nil
}

func (r *revoked) forged() error { return fmt.Errorf("the CRL of %q is not signed by that CA", r.name) }

func serial(n *big.Int) string { return n.Text(62) }

// signedBy does not ask for the key usage cRLSign, which many a CA made by hand
// lacks: who has the CA's key could as well do worse.
func signedBy(list *x509.RevocationList, by *x509.Certificate) bool {
	return by.CheckSignature(list.SignatureAlgorithm, list.RawTBSRevocationList, list.Signature) == nil
}

// check fails if a certificate of the chain, which is verified, was taken back.
func (r *revocations) check(chain []*x509.Certificate) error {
	if r == nil {
		return nil
	}
	for i, c := range chain {
		issuer := chain[min(i+1, len(chain)-1)]
		// Who has signed an anchor that is no root is not known: no list can be proven to
		// be of that CA, nor need one be there. If one names the anchor, it counts.
		unknown := i == len(chain)-1 && !bytes.Equal(c.RawIssuer, c.RawSubject)
		var forged error // why there is no list that is of this key
		proven := false
		for _, l := range r.lists {
			if !bytes.Equal(l.issuer, c.RawIssuer) {
				continue
			}
			if l.proof != nil && !unknown && !signedBy(l.proof, issuer) {
				forged = l.forged() // or of another key of the same name
				continue
			}
			if l.serials[serial(c.SerialNumber)] {
				return fmt.Errorf("the certificate %q with serial number %x is revoked", c.Subject, c.SerialNumber)
			}
			proven = true
		}
		if forged != nil && !proven {
			return forged
		}
	}
	return nil
}

func (r *revocations) same(o *revocations) bool {
	if r == nil || o == nil {
		return r == o
	}
	return r.sum == o.sum
}

// due is when the first of the lists should have been replaced; zero for never.
func (r *revocations) due() (first time.Time) {
	if r == nil {
		return first
	}
	for _, l := range r.lists {
		if !l.next.IsZero() && (first.IsZero() || l.next.Before(first)) {
			first = l.next
		}
	}
	return first
}
