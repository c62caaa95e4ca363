// A filter that limits the rate of requests: so many in each window of time, the rest is answered with 429.
//
// A window begins with its first request. All workers of an Envoy share it: it lies in Envoy's shared data, where each
// changes it by compare and swap.
//
// The configuration is empty or JSON: {"requests": 100, "milliseconds": 1000}.
package main

import (
	"encoding/binary"
	"errors"
	"strconv"
	"time"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"filter/config"
)

// main is not called: Envoy runs init, then the callbacks below.
func main() {}

func init() {
	proxywasm.SetPluginContext(func(uint32) types.PluginContext {
		return &plugin{requests: 100, milliseconds: 1000}
	})
}

// plugin is the filter with its configuration; each of Envoy's workers has one.
type plugin struct {
	types.DefaultPluginContext
	requests, milliseconds uint64
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	text, err := proxywasm.GetPluginConfiguration()
	if err == nil {
		err = p.configure(string(text))
	} else if err == types.ErrorStatusNotFound { // there is none
		err = nil
	}
	if err == nil {
		err = share()
	}
	if err == nil {
		err = proxywasm.SetTickPeriodMilliSeconds(uint32(max(p.milliseconds/10, 10)))
	}
	if err != nil {
		proxywasm.LogError(err.Error())
		return types.OnPluginStartStatusFailed
	}
	return types.OnPluginStartStatusOK
}

func (p *plugin) configure(text string) error {
	object, err := config.Parse(text)
	if err != nil {
		return err
	}
	return errors.Join(object.Number("requests", &p.requests), object.Number("milliseconds", &p.milliseconds))
}

// OnTick takes a window that is over out of the shared data. Where it is late, a request sees that for itself.
func (p *plugin) OnTick() {
	shared, err := load()
	if err == nil && shared.start != 0 && p.over(shared) {
		err = window{version: shared.version}.store()
	}
	if err != types.ErrorStatusCasMismatch { // else another worker was faster
		logIf(err, "cannot end a window: ")
	}
}

func (p *plugin) over(shared window) bool {
	return now() >= shared.start+p.milliseconds
}

// take takes one request out of the window; no error and false mean that it has none left.
func (p *plugin) take() (window, bool, error) {
	for {
		shared, err := load()
		if err != nil {
			return shared, false, err
		}
		if p.over(shared) {
			shared.start, shared.left = now(), p.requests
		}
		if shared.left == 0 {
			return shared, false, nil
		}
		shared.left--
		if err := shared.store(); err != types.ErrorStatusCasMismatch {
			return shared, err == nil, err
		}
		// Another worker was faster: see what it has left.
	}
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext {
	return &stream{plugin: p}
}

// stream is one request with its response.
type stream struct {
	types.DefaultHttpContext
	plugin    *plugin
	remaining string // how many more the window has
}

func (s *stream) OnHttpRequestHeaders(_ int, _ bool) types.Action {
	shared, ok, err := s.plugin.take()
	if err != nil {
		logIf(err, "cannot count a request: ")
		return types.ActionContinue
	}
	s.remaining = strconv.FormatUint(shared.left, 10)
	if ok {
		return types.ActionContinue
	}
	headers := [][2]string{{"retry-after", strconv.FormatUint(s.plugin.secondsUntilNext(shared), 10)}}
	const noGRPCStatus = -1
	logIf(proxywasm.SendHttpResponse(429, headers, []byte("too many requests"), noGRPCStatus), "cannot answer: ")
	return types.ActionPause
}

// OnHttpResponseHeaders is called for the 429 too.
func (s *stream) OnHttpResponseHeaders(_ int, _ bool) types.Action {
	if s.remaining != "" { // else it has not been counted
		logIf(proxywasm.ReplaceHttpResponseHeader("x-ratelimit-remaining", s.remaining), "cannot set a header: ")
	}
	return types.ActionContinue
}

// secondsUntilNext is rounded up, and at least 1: the window may have ended just now.
func (p *plugin) secondsUntilNext(shared window) uint64 {
	end, now := shared.start+p.milliseconds, now()
	if end <= now {
		return 1
	}
	return (end - now + 999) / 1000
}

// window is what the workers share; the zero window is none.
type window struct {
	start   uint64 // when its first request came, in milliseconds since 1970
	left    uint64 // how many requests it will let through
	version uint32 // of the shared data, for compare and swap; 0 where there is none yet
}

const key, size = "rate-limit", 16

// share sees to it that there is a version to compare from the first request on. Envoy starts the plugin once before it
// has workers, so nobody counts yet.
func share() error {
	_, err := load()
	if err == types.ErrorStatusNotFound {
		err = window{}.store()
	}
	return err
}

func load() (window, error) {
	data, version, err := proxywasm.GetSharedData(key)
	if err != nil {
		return window{}, err
	}
	if len(data) != size {
		return window{version: version}, nil // not the filter's: as good as none
	}
	return window{binary.LittleEndian.Uint64(data), binary.LittleEndian.Uint64(data[8:]), version}, nil
}

// store fails with types.ErrorStatusCasMismatch where another worker has stored since this window was loaded.
func (w window) store() error {
	data := binary.LittleEndian.AppendUint64(make([]byte, 0, size), w.start)
	return proxywasm.SetSharedData(key, binary.LittleEndian.AppendUint64(data, w.left), w.version)
}

func now() uint64 {
	return uint64(time.Now().UnixMilli())
}

func logIf(err error, what string) {
	if err != nil {
		proxywasm.LogError(what + err.Error())
	}
}
