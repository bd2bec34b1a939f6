package server

import (
	"fmt"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// NewLogger builds the logger that c describes.
func NewLogger(c *Config) (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(c.LogLevel)
	if err != nil {
		return nil, fmt.Errorf("--log-level: %w", err)
	}
	var outputs []string
	for _, o := range c.LogOutputs {
		switch o {
		case "default":
			o = "stderr"
		case "systemd/journal":
			return nil, fmt.Errorf("--log-outputs: %s is not supported by this version", o)
		}
		outputs = append(outputs, o)
	}
	encoder := zap.NewProductionEncoderConfig()
	encoder.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	encoder.EncodeDuration = zapcore.StringDurationEncoder
	l, err := zap.Config{
		Level:            zap.NewAtomicLevelAt(level),
		Encoding:         c.LogFormat,
		EncoderConfig:    encoder,
		OutputPaths:      outputs,
		ErrorOutputPaths: []string{"stderr"},
		DisableCaller:    true,
	}.Build()
	if err != nil {
		return nil, fmt.Errorf("--log-outputs: %w", err)
	}
	return l, nil
}

// raftLogger gives the consensus library's lines to the log. The library logs
// on its hot path, so what it calls information is debugging here, and nothing
// is formatted that is not wanted.
type raftLogger struct{ logger *zap.SugaredLogger }

func (l raftLogger) Debug(v ...any)                   { l.logger.Debug(v...) }
func (l raftLogger) Debugf(format string, v ...any)   { l.logger.Debugf(format, v...) }
func (l raftLogger) Info(v ...any)                    { l.logger.Debug(v...) }
func (l raftLogger) Infof(format string, v ...any)    { l.logger.Debugf(format, v...) }
func (l raftLogger) Warning(v ...any)                 { l.logger.Warn(v...) }
func (l raftLogger) Warningf(format string, v ...any) { l.logger.Warnf(format, v...) }
func (l raftLogger) Error(v ...any)                   { l.logger.Error(v...) }
func (l raftLogger) Errorf(format string, v ...any)   { l.logger.Errorf(format, v...) }
func (l raftLogger) Fatal(v ...any)                   { l.logger.Panic(v...) }
func (l raftLogger) Fatalf(format string, v ...any)   { l.logger.Panicf(format, v...) }
func (l raftLogger) Panic(v ...any)                   { l.logger.Panic(v...) }
func (l raftLogger) Panicf(format string, v ...any)   { l.logger.Panicf(format, v...) }

// storeLogger gives the storage engine's lines to the log: its own business is
// debugging here.
type storeLogger struct{ logger *zap.SugaredLogger }

func (l storeLogger) Infof(format string, v ...any)  { l.logger.Debugf(format, v...) }
func (l storeLogger) Errorf(format string, v ...any) { l.logger.Errorf(format, v...) }
