// A filter that asks a service about every request, and lets it through only if the answer's body is "ok".
//
// The request's userId header goes to GET /auth of the cluster below. Any other answer, no answer within five seconds
// or no such cluster gives 403 with the service's own words, or "fail" where it has none.
//
// The configuration is empty or JSON: {"cluster": "...", "path": "/auth", "authority": "auth-simple:8080"}.
package main

import (
	"errors"
	"math"
	"unicode/utf8"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"filter/config"
)

const timeoutMilliseconds = 5000

// main is not called: Envoy runs init, then the callbacks below.
func main() {}

func init() {
	proxywasm.SetPluginContext(func(uint32) types.PluginContext {
		return &plugin{
			cluster:   "outbound|8080||auth-simple.istio.svc.cluster.local",
			path:      "/auth",
			authority: "auth-simple:8080",
		}
	})
}

// plugin is the filter with its configuration; each of Envoy's workers has one.
type plugin struct {
	types.DefaultPluginContext
	cluster, path, authority string
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
	return errors.Join(
		object.Text("cluster", &p.cluster),
		object.Text("path", &p.path),
		object.Text("authority", &p.authority),
	)
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext {
	return &stream{plugin: p}
}

// stream is one request with its response.
type stream struct {
	types.DefaultHttpContext
	plugin *plugin
}

func (s *stream) OnHttpRequestHeaders(_ int, _ bool) types.Action {
	userID, _ := proxywasm.GetHttpRequestHeader("userId") // empty where there is none
	if !utf8.ValidString(userID) {
		refuse("")
		return types.ActionPause
	}
	headers := [][2]string{
		{":method", "GET"},
		{":path", s.plugin.path},
		{":authority", s.plugin.authority},
		{"userId", userID},
	}
	_, err := proxywasm.DispatchHttpCall(s.plugin.cluster, headers, nil, nil, timeoutMilliseconds, onAnswer)
	if err != nil {
		proxywasm.LogWarn("cannot call cluster " + s.plugin.cluster + ": " + err.Error())
		refuse("")
	}
	return types.ActionPause // until the answer is here
}

// onAnswer is called with the service's answer; with no headers where there is none.
func onAnswer(_, _, _ int) {
	headers, _ := proxywasm.GetHttpCallResponseHeaders()
	body, _ := proxywasm.GetHttpCallResponseBody(0, math.MaxInt32)
	if status(headers) != "200" {
		refuse("") // Envoy answers for a service that it cannot reach; and what went wrong there stays there
	} else if string(body) != "ok" {
		refuse(string(body))
	} else if err := proxywasm.ResumeHttpRequest(); err != nil {
		proxywasm.LogError("cannot let the request through: " + err.Error())
	}
}

func status(headers [][2]string) string {
	for _, header := range headers {
		if header[0] == ":status" {
			return header[1]
		}
	}
	return ""
}

// refuse answers 403 in the upstream's place.
func refuse(reason string) {
	if reason == "" {
		reason = "fail"
	}
	const noGRPCStatus = -1
	if err := proxywasm.SendHttpResponse(403, nil, []byte(reason), noGRPCStatus); err != nil {
		proxywasm.LogError("cannot refuse the request: " + err.Error())
	}
}
