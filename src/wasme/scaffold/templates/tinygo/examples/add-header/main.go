// A filter that adds a header to every response: hello: world, or what the configuration says.
//
// The configuration is text, the header's value; or JSON: {"header": "hello", "value": "world"}.
package main

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"filter/config"
)

// main is not called: Envoy runs init, then the callbacks below.
func main() {}

func init() {
	proxywasm.SetPluginContext(func(uint32) types.PluginContext {
		return &plugin{header: "hello", value: "world"}
	})
}

// plugin is the filter with its configuration; each of Envoy's workers has one.
type plugin struct {
	types.DefaultPluginContext
	header, value string
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
	if !config.IsObject(text) {
		p.value = text
		return nil
	}
	object, err := config.Parse(text)
	if err != nil {
		return err
	}
	if err := object.Text("header", &p.header); err != nil {
		return err
	}
	return object.Text("value", &p.value)
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext {
	return &stream{plugin: p}
}

// stream is one request with its response.
type stream struct {
	types.DefaultHttpContext
	plugin *plugin
}

func (s *stream) OnHttpResponseHeaders(_ int, _ bool) types.Action {
	if err := proxywasm.AddHttpResponseHeader(s.plugin.header, s.plugin.value); err != nil {
		proxywasm.LogError("cannot add a header: " + err.Error())
	}
	return types.ActionContinue
}
