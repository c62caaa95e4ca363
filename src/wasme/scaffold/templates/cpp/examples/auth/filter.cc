// Asks a service about every request, and lets it through only if the answer is 200 with the body `ok`.

#include "proxy/proxy.h"

using namespace proxy;

constexpr uint32_t kTimeoutMilliseconds = 5000;

class Auth : public RootContext {
 public:
  bool onConfigure(StringView configuration) {
    if (configuration.empty()) return true;
    JsonObject json(configuration);
    if (json && json.read("cluster", cluster) && json.read("path", path) && json.read("authority", authority)) {
      return true;
    }
    logError("the configuration is not a JSON object of texts");
    return false;
  }

  String cluster = "outbound|8080||auth-simple.istio.svc.cluster.local";
  String path = "/auth";
  String authority = "auth-simple:8080";
};

class AuthStream : public HttpContext<Auth> {
 public:
  HeadersAction onRequestHeaders(uint32_t, bool) {
    const auto user = requestHeaders.get("userId");
    if (!isUtf8(*user)) {
      refuse({});
      return HeadersAction::StopIteration;
    }
    const Headers headers = {{":method", "GET"},
                             {":path", root().path},
                             {":authority", root().authority},
                             {"userId", *user}};  // empty where there is none
    const auto call = httpCall(root().cluster, headers, kTimeoutMilliseconds);
    if (!call) {
      logWarn("cannot call cluster ", root().cluster, ": ", call.status());
      refuse({});
    }
    return HeadersAction::StopIteration;  // until the answer is here
  }

  void onHttpCallResponse(uint32_t, uint32_t, size_t, uint32_t) {
    // Envoy answers for a service that it cannot reach, and services in trouble talk: not for the client's ears.
    const auto status = callResponseHeaders.get(":status");
    const auto body = callResponseBody.get();
    const bool answered = *status == "200";
    if (answered && *body == "ok") {
      resumeRequest();
    } else {
      refuse(answered ? StringView(*body) : StringView());
    }
  }

 private:
  void refuse(StringView reason) { respond(403, reason.empty() ? "fail" : reason); }
};

PROXY_PLUGIN(Auth, AuthStream)
