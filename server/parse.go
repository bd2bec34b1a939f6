package server

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// ErrHelp is returned by Parse when help was asked for; it has been printed.
var ErrHelp = flag.ErrHelp

// ErrVersion is returned by Parse when the version was asked for.
var ErrVersion = errors.New("version asked for")

// UsageError is an error in the form of the command line. Programs end with
// status 2 on it.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap returns what was wrong.
func (e *UsageError) Unwrap() error { return e.Err }

// Parse reads a configuration from the arguments after the program's name and
// from environment variables in the form NAME=value. A setting may come from
// one of the two, not from both. With --config-file (or ETCD_CONFIG_FILE) it is
// read from that file alone. Help goes to out. The warnings are for the log.
func Parse(args, environ []string, out io.Writer) (c *Config, warnings []string, err error) {
	c = Default()
	fs := flag.NewFlagSet("etcd", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	table := settings(c)
	for _, s := range table {
		if s.name != "" {
			fs.Var(s.value, s.name, s.help)
		}
	}
	for _, name := range refused {
		fs.Var(unsupported(name), name, "")
	}
	file := fs.String("config-file", "", "")
	version := fs.Bool("version", false, "")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			usage(out, settings(Default()))
			return nil, nil, ErrHelp
		}
		return nil, nil, &UsageError{err}
	}
	if fs.NArg() > 0 {
		return nil, nil, fmt.Errorf("%q is not a valid flag", fs.Arg(0))
	}
	if *version {
		return nil, nil, ErrVersion
	}
	fs.Visit(func(f *flag.Flag) { c.set[f.Name] = true })

	env := map[string]string{}
	for _, kv := range environ {
		if name, value, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "ETCD_") {
			env[name] = value
		}
	}
	if *file == "" {
		*file = env["ETCD_CONFIG_FILE"]
	}
	if *file != "" {
		c = Default()
		warnings, err = c.readFile(*file)
	} else {
		warnings, err = c.readEnvironment(table, env)
	}
	return c, warnings, cmp.Or(err, c.settleToken())
}

func (c *Config) readEnvironment(table []setting, env map[string]string) (warnings []string, err error) {
	known := map[string]bool{"ETCD_UNSUPPORTED_ARCH": true, "ETCD_CONFIG_FILE": true, "ETCD_VERSION": true}
	for _, s := range table {
		if s.name == "" {
			continue
		}
		name := environment(s.name)
		known[name] = true
		value := env[name]
		if value == "" {
			continue
		}
		if c.set[s.name] {
			return nil, fmt.Errorf("conflicting environment variable is shadowed by corresponding command-line flag (either unset environment variable %s or disable flag --%s)", name, s.name)
		}
		if err := s.value.Set(value); err != nil {
			return nil, fmt.Errorf("invalid value %q for %s: %w", value, name, err)
		}
		c.set[s.name] = true
	}
	for _, name := range refused {
		if v := environment(name); env[v] != "" {
			return nil, fmt.Errorf("%s: %w", v, unsupported(name).Set(""))
		}
	}
	for name := range env {
		if !known[name] {
			warnings = append(warnings, "unrecognized environment variable "+name)
		}
	}
	slices.Sort(warnings)
	return warnings, nil
}

// readFile reads a configuration file, YAML or JSON.
func (c *Config) readFile(path string) (warnings []string, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--config-file: %w", err)
	}
	var keys map[string]any
	if err := yaml.Unmarshal(data, &keys); err != nil {
		return nil, fmt.Errorf("--config-file %s: %w", path, err)
	}
	for _, s := range settings(c) {
		v := takeKey(keys, cmp.Or(s.fileKey, s.name))
		if v == nil {
			continue
		}
		value := s.value
		if s.fileValue != nil {
			value = s.fileValue
		}
		if err := value.Set(fileText(v)); err != nil {
			return nil, fmt.Errorf("--config-file %s: invalid value for %s: %w", path, cmp.Or(s.fileKey, s.name), err)
		}
		c.set[cmp.Or(s.name, s.fileKey)] = true
	}
	for _, name := range refused {
		if _, ok := keys[name]; ok {
			return nil, fmt.Errorf("--config-file %s: %w", path, unsupported(name).Set(""))
		}
	}
	for name := range keys {
		warnings = append(warnings, fmt.Sprintf("unrecognized key %q in %s", name, path))
	}
	slices.Sort(warnings)
	return warnings, nil
}

// takeKey takes "key" or "section.key" out of the file. Nil: it is not there, or
// has no value.
func takeKey(keys map[string]any, key string) any {
	section, inner, nested := strings.Cut(key, ".")
	if !nested {
		v := keys[key]
		delete(keys, key)
		return v
	}
	within, ok := keys[section].(map[string]any)
	if !ok {
		return nil
	}
	v := within[inner]
	if delete(within, inner); len(within) == 0 {
		delete(keys, section)
	}
	return v
}

// fileText is a value of a configuration file as a flag would spell it.
func fileText(v any) string {
	switch v := v.(type) {
	case []any:
		parts := make([]string, len(v))
		for i, p := range v {
			parts[i] = fmt.Sprint(p)
		}
		return strings.Join(parts, ",")
	case float64:
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprint(v)
}

// unsupported is the value of a setting that is refused by name.
type unsupported string

func (v unsupported) Set(string) error {
	return fmt.Errorf("--%s is not supported by this version", string(v))
}
func (v unsupported) String() string { return "" }

// IsBoolFlag lets a refused flag stand without a value, so that the message is
// about the flag and not about what follows it.
func (v unsupported) IsBoolFlag() bool { return true }

// usage prints the help text.
func usage(w io.Writer, table []setting) {
	fmt.Fprint(w, `Usage:

  etcd [flags]
    Start a member. Every flag is also an environment variable: --data-dir is
    ETCD_DATA_DIR. A setting may be given in one of the two places.

  etcd --config-file PATH
    Start a member from a YAML or JSON file; all else is ignored.

  etcd --version
  etcd --help
`)
	section := ""
	for _, s := range table {
		if s.name == "" {
			continue
		}
		if s.section != section {
			section = s.section
			fmt.Fprintf(w, "\n%s:\n", section)
		}
		fmt.Fprintf(w, "  --%s '%s'\n        %s\n", s.name, s.value.String(), s.help)
	}
}
