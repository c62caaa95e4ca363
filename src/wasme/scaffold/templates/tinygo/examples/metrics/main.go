// A filter that counts requests, answers by their class, and how long they take.
//
// The metrics stand among Envoy's own as wasmcustom.filter.requests and so on; a configuration (text) is taken as
// another word for "filter".
package main

import (
	"time"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

// main is not called: Envoy runs init, then the callbacks below.
func main() {}

func init() {
	proxywasm.SetPluginContext(func(uint32) types.PluginContext { return &plugin{} })
}

// plugin is the filter with its metrics; each of Envoy's workers has one, and Envoy adds them up.
type plugin struct {
	types.DefaultPluginContext
	requests     proxywasm.MetricCounter
	responses    [5]proxywasm.MetricCounter // of the classes 1xx to 5xx
	inFlight     proxywasm.MetricGauge
	milliseconds proxywasm.MetricHistogram
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	text, err := proxywasm.GetPluginConfiguration()
	if err == types.ErrorStatusNotFound { // there is none
		text = []byte("filter")
	} else if err != nil {
		proxywasm.LogError(err.Error())
		return types.OnPluginStartStatusFailed
	}
	prefix := string(text) + "."
	p.requests = proxywasm.DefineCounterMetric(prefix + "requests")
	for i := range p.responses {
		p.responses[i] = proxywasm.DefineCounterMetric(prefix + "responses_" + string('1'+rune(i)) + "xx")
	}
	p.inFlight = proxywasm.DefineGaugeMetric(prefix + "in_flight")
	p.milliseconds = proxywasm.DefineHistogramMetric(prefix + "milliseconds")
	return types.OnPluginStartStatusOK
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext {
	return &stream{plugin: p}
}

// stream is one request with its response.
type stream struct {
	types.DefaultHttpContext
	plugin *plugin
	began  time.Time
}

func (s *stream) OnHttpRequestHeaders(_ int, _ bool) types.Action {
	s.began = time.Now()
	s.plugin.requests.Increment(1)
	s.plugin.inFlight.Add(1)
	return types.ActionContinue
}

func (s *stream) OnHttpResponseHeaders(_ int, _ bool) types.Action {
	status, err := proxywasm.GetHttpResponseHeader(":status")
	if err == nil && status != "" && status[0] >= '1' && status[0] <= '5' {
		s.plugin.responses[status[0]-'1'].Increment(1)
	}
	return types.ActionContinue
}

// OnHttpStreamDone is called once, however the stream has ended.
func (s *stream) OnHttpStreamDone() {
	if s.began.IsZero() { // Envoy has answered before the request came this far
		return
	}
	s.plugin.inFlight.Add(-1)
	s.plugin.milliseconds.Record(uint64(time.Since(s.began).Milliseconds()))
}
