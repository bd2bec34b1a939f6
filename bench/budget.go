package main

import (
	"fmt"
	"io"
)

// limit is one line of the budget: what is promised, and where it is found.
type limit struct {
	name  string
	value func(results) (spread, error)
	most  float64
	unit  string
}

// line is a limit held against what was measured.
type line struct {
	Name    string  `json:"name"`
	Value   float64 `json:"value,omitempty"`
	Low     float64 `json:"low,omitempty"`
	High    float64 `json:"high,omitempty"`
	Limit   float64 `json:"limit"`
	Unit    string  `json:"unit"`
	Verdict string  `json:"verdict"`
}

const (
	held   = "held"
	missed = "MISSED"
)

// limits is the budget. The times are for 1,000,000 keys.
func (b *suite) limits() []limit {
	peer := b.peer.Name
	against := func(name, id, other string, metric func(sample) float64, most float64) limit {
		return limit{name + ", ours / " + other, func(r results) (spread, error) {
			return ratio(r.find(id, ourName), r.find(id, other), metric)
		}, most, "x"}
	}
	figure := func(name, id string, most float64, unit string) limit {
		return limit{name, func(r results) (spread, error) { return r.figure(id, ourName).value() }, most, unit}
	}
	many := thousands(float64(b.keys)) + " keys"
	return []limit{
		against("serializable get: CPU", getSerializable, echoName, sample.perRequest, 0.35),
		against("linearizable get: CPU", getLinearizable, echoName, sample.perRequest, 0.40),
		against("put: CPU", putSynced, echoName, sample.perRequest, 0.40),
		against("put: CPU", putSynced, peer, sample.perRequest, 0.30),
		against("put, one client: mean", onePut, peer, sample.mean, 0.75),
		against("get, one client: mean", oneGet, peer, sample.mean, 0.50),
		against("put, three members: leader's CPU", clusterPut, peer, sample.perRequest, 0.35),
		against("put, three members: time per put", clusterPut, peer, sample.perReply, 0.40),
		against("put, three members, one client: mean", clusterOnePut, peer, sample.mean, 0.60),
		{"a JWT with a serializable get: more CPU", func(r results) (spread, error) { return extra(r, authGet) }, 0.5, "us"},
		{"a JWT with a serializable get: time per get, with / without", func(r results) (spread, error) {
			return ratio(r.find(authGet, signedName), r.find(authGet, ourName), sample.perReply)
		}, 1.05, "x"},
		figure("authorised reads beside refused logins: p99", authFloodReads, 1.25, "x"),
		figure("a right password beside them", authFloodLogin, 5, "s"),
		figure("wrong passwords and unknown names: medians", authNames, 1.1, "x"),
		{"event told to one of 1,000 watchers: CPU", func(r results) (spread, error) {
			return micros(r.find(watchEvents, ourName), sample.perRequest)
		}, 1.5, "us"},
		figure("puts beside 10,000 watchers: time per put", watchSlower, 1.18, "x"),
		figure("puts beside 10,000 watchers: p99", watchLater, 1.25, "x"),
		figure("100 streams that take nothing of 1 GB of events: memory", watchDeafMemory, 64, "MB"),
		figure("puts beside them: p99", watchDeafP99, 1.25, "x"),
		against("keep-alive: CPU", leaseKeepAlive, peer, sample.perRequest, 0.40),
		figure("100,000 leases that end together: the longest put", leaseStall, 100, "ms"),
		figure("a member without its disk joins "+many+": p99 of the leader's puts", wipedP99, 100, "ms"),
		figure("a member without its disk joins "+many+": time per put", wipedRate, 1.25, "x"),
		against("get, random of "+many+": CPU", getMany, peer, sample.perRequest, 0.60),
		against("put, random of "+many+": CPU", putMany, peer, sample.perRequest, 0.50),
		figure(fmt.Sprintf("page of %d of %s", pageKeys, many), pageMany, 2, "ms"),
		figure("pages at one revision under churn", pagesMany, 2, "ms"),
		figure("ten fast and ten slow lists: memory", listsMany, 128, "MB"),
		figure("others beside 100 deaf clients: p99", deafClients, 1.25, "x"),
		figure("probes during a compaction: p99.9", probesMany, 100, "ms"),
		figure("probes during a compaction: the longest", longestMany, 1, "x"),
		figure("count of "+many, countMany, 0.2, "ms"),
		figure("restart with "+many+" after kill -9, worst", restartKill, 2, "s"),
		figure("restart with "+many+" after a clean stop", restartClean, 1.2, "s"),
		figure("resident with "+many, residentMany, 400, "MB"),
	}
}

// judge holds the limits against the results. What was not measured is missed.
func judge(limits []limit, r results) (lines []line, ok bool) {
	ok = true
	for _, l := range limits {
		out := line{Name: l.name, Limit: l.most, Unit: l.unit, Verdict: held}
		v, err := l.value(r)
		switch {
		case err != nil:
			out.Verdict = missed + ": not measured: " + err.Error()
		case v.Mid > l.most:
			out.Verdict = missed
			if v.Low <= l.most {
				out.Verdict += ", not by every sample"
			}
		}
		if err == nil {
			out.Value, out.Low, out.High = v.Mid, v.Low, v.High
		}
		ok = ok && out.Verdict == held
		lines = append(lines, out)
	}
	return lines, ok
}

func writeBudget(w io.Writer, lines []line) {
	t := table{left: 1}
	t.add("budget", "value", "limit", "")
	for _, l := range lines {
		value := none
		if l.Value > 0 {
			value = ranged(spread{l.Value, l.Low, l.High}, 1, "%.3g") + " " + l.Unit
		}
		t.add(l.Name, value, fmt.Sprintf("%g %s", l.Limit, l.Unit), l.Verdict)
	}
	t.write(w)
}
