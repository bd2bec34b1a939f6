package ctl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
)

// discover finds endpoints by the SRV records of a domain: those with TLS, and
// those without too if insecure.
func discover(ctx context.Context, resolver *net.Resolver, domain, name string, insecure bool) ([]string, error) {
	services := []struct{ service, scheme string }{{"etcd-client-ssl", "https"}, {"etcd-client", "http"}}
	if !insecure {
		services = services[:1]
	}
	var all []string
	var failures []error
	for _, s := range services {
		if name != "" {
			s.service += "-" + name
		}
		_, records, err := resolver.LookupSRV(ctx, s.service, "tcp", domain)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		for _, r := range records {
			all = append(all, fmt.Sprintf("%s://%s", s.scheme, net.JoinHostPort(strings.TrimSuffix(r.Target, "."), fmt.Sprint(r.Port))))
		}
		if len(all) > 0 {
			break // a cluster is taken as a whole with TLS, or without
		}
	}
	if len(all) == 0 {
		return nil, &failure{exitConnection, fmt.Errorf("--discovery-srv: %w", errors.Join(failures...))}
	}
	return all, nil
}
