package rpc

import (
	"bytes"
	"compress/gzip"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// inflate undoes gzip, up to MaxMessage bytes.
func (s *Server) inflate(p []byte, encoding string) ([]byte, *status.Status) {
	if encoding != "gzip" {
		return nil, status.New(codes.Internal, "grpc: compressed flag set with identity or empty encoding")
	}
	z, err := gzip.NewReader(bytes.NewReader(p))
	if err != nil {
		return nil, status.Newf(codes.Internal, "grpc: failed to decompress the received message: %v", err)
	}
	limit := s.limits.MaxMessage
	out, err := io.ReadAll(io.LimitReader(z, int64(limit)+1))
	if err != nil {
		return nil, status.Newf(codes.Internal, "grpc: failed to decompress the received message: %v", err)
	}
	if len(out) > limit {
		return nil, status.Newf(codes.ResourceExhausted, "grpc: received message after decompression larger than max %d", limit)
	}
	return out, nil
}
