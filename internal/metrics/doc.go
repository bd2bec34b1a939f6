// Package metrics says in Prometheus's words what a member counts. The families
// have upstream's names, types and labels, so that alerts and dashboards go on
// working; docs/metrics.md lists them, and those that are left out because
// nothing here stands behind them.
//
// Most are read where they are true at the moment of a scrape and cost nothing
// in between. A member has a registry of its own; there is no global one.
package metrics
