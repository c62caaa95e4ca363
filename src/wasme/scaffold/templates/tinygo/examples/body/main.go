// A filter that rewrites the bodies of requests and responses: every "hello" becomes "good day".
//
// The configuration is empty or JSON: {"find": "hello", "replace": "good day"}.
package main

import (
	"bytes"
	"errors"
	"math"
	"strings"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"filter/config"
)

// main is not called: Envoy runs init, then the callbacks below.
func main() {}

func init() {
	proxywasm.SetPluginContext(func(uint32) types.PluginContext {
		return &plugin{find: "hello", replace: "good day"}
	})
}

// plugin is the filter with its configuration; each of Envoy's workers has one.
type plugin struct {
	types.DefaultPluginContext
	find, replace string
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	text, err := proxywasm.GetPluginConfiguration()
	if err == types.ErrorStatusNotFound { // there is none
		return types.OnPluginStartStatusOK
	}
	if err == nil {
		err = p.configure(string(text))
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
	err = errors.Join(object.Text("find", &p.find), object.Text("replace", &p.replace))
	if err == nil && p.find == "" {
		err = errors.New("the configuration names nothing to find")
	}
	return err
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext {
	return &stream{
		request: message{
			plugin:       p,
			header:       proxywasm.GetHttpRequestHeader,
			removeHeader: proxywasm.RemoveHttpRequestHeader,
			body:         proxywasm.GetHttpRequestBody,
			replaceBody:  proxywasm.ReplaceHttpRequestBody,
		},
		response: message{
			plugin:       p,
			header:       proxywasm.GetHttpResponseHeader,
			removeHeader: proxywasm.RemoveHttpResponseHeader,
			body:         proxywasm.GetHttpResponseBody,
			replaceBody:  proxywasm.ReplaceHttpResponseBody,
		},
	}
}

// stream is one request with its response.
type stream struct {
	types.DefaultHttpContext
	request, response message
}

func (s *stream) OnHttpRequestHeaders(_ int, endOfStream bool) types.Action {
	return s.request.onHeaders(endOfStream)
}

func (s *stream) OnHttpRequestBody(_ int, endOfStream bool) types.Action {
	return s.request.onBody(endOfStream)
}

func (s *stream) OnHttpRequestTrailers(int) types.Action {
	return s.request.onBody(true)
}

func (s *stream) OnHttpResponseHeaders(_ int, endOfStream bool) types.Action {
	return s.response.onHeaders(endOfStream)
}

func (s *stream) OnHttpResponseBody(_ int, endOfStream bool) types.Action {
	return s.response.onBody(endOfStream)
}

func (s *stream) OnHttpResponseTrailers(int) types.Action {
	return s.response.onBody(true)
}

// message is a request or a response, and the host's calls for it.
type message struct {
	plugin       *plugin
	isPlain      bool // it has a body that is not encoded
	header       func(name string) (string, error)
	removeHeader func(name string) error
	body         func(start, size int) ([]byte, error)
	replaceBody  func(body []byte) error
}

func (m *message) onHeaders(endOfStream bool) types.Action {
	encoding, _ := m.header("content-encoding") // empty where there is none
	m.isPlain = !endOfStream && (encoding == "" || strings.EqualFold(encoding, "identity"))
	if m.isPlain {
		// The length may change, and the headers go out before the body: Envoy sends it in chunks.
		if err := m.removeHeader("content-length"); err != nil {
			proxywasm.LogError("cannot remove content-length: " + err.Error())
		}
	}
	return types.ActionContinue
}

// onBody holds the body back until its end, and rewrites it as a whole.
func (m *message) onBody(isWhole bool) types.Action {
	if !m.isPlain {
		return types.ActionContinue
	}
	if !isWhole {
		return types.ActionPause
	}
	body, err := m.body(0, math.MaxInt32)
	if err == types.ErrorStatusNotFound { // it is empty
		return types.ActionContinue
	}
	if err == nil {
		err = m.replaceBody(bytes.ReplaceAll(body, []byte(m.plugin.find), []byte(m.plugin.replace)))
	}
	if err != nil {
		proxywasm.LogError("cannot rewrite a body: " + err.Error())
	}
	return types.ActionContinue
}
