// Replaces a word in the bodies of requests and responses.
//
// A body is held back until its end and rewritten as a whole, so a word across two packets is found. Its length may
// change, so content-length goes before the body does. Bodies with a content-encoding pass as they are.

#include "proxy/proxy.h"

using namespace proxy;

class Rewrite : public RootContext {
 public:
  bool onConfigure(StringView configuration) {
    if (configuration.empty()) return true;
    JsonObject json(configuration);
    if (json && json.read("find", find) && json.read("replace", replacement) && !find.empty()) return true;
    logError("the configuration is not a JSON object of texts, or \"find\" is empty");
    return false;
  }

  String find = "hello";
  String replacement = "good day";
};

class RewriteStream : public HttpContext<Rewrite> {
 public:
  HeadersAction onRequestHeaders(uint32_t, bool endOfStream) { return begin(request_, requestHeaders, endOfStream); }
  DataAction onRequestBody(size_t, bool endOfStream) { return go(request_, requestBody, endOfStream); }
  Action onRequestTrailers(uint32_t) { return end(request_, requestBody); }

  HeadersAction onResponseHeaders(uint32_t, bool endOfStream) { return begin(response_, responseHeaders, endOfStream); }
  DataAction onResponseBody(size_t, bool endOfStream) { return go(response_, responseBody, endOfStream); }
  Action onResponseTrailers(uint32_t) { return end(response_, responseBody); }

 private:
  // The one coding that changes nothing; in any case, as codings are written.
  static bool isIdentity(StringView encoding) {
    constexpr StringView kIdentity = "identity";
    if (encoding.size() != kIdentity.size()) return false;
    for (size_t i = 0; i < kIdentity.size(); ++i) {
      if ((encoding[i] | ' ') != kIdentity[i]) return false;
    }
    return true;
  }

  // Decides whether the body behind these headers is rewritten.
  HeadersAction begin(bool& wanted, const HeaderMap& headers, bool endOfStream) {
    if (endOfStream) return HeadersAction::Continue;
    const auto encoding = headers.get("content-encoding");
    wanted = encoding->empty() || isIdentity(*encoding);
    if (wanted) headers.remove("content-length");
    return HeadersAction::Continue;
  }

  DataAction go(bool wanted, const Buffer& body, bool endOfStream) {
    if (!wanted) return DataAction::Continue;
    if (!endOfStream) return DataAction::StopIterationAndBuffer;
    rewrite(body);
    return DataAction::Continue;
  }

  // Trailers end a body too; what has been held back of it can still be changed.
  Action end(bool wanted, const Buffer& body) {
    if (wanted) rewrite(body);
    return Action::Continue;
  }

  void rewrite(const Buffer& body) {
    const auto text = body.get();
    if (!text || text->view().find(root().find) == StringView::npos) return;
    const Status status = body.set(replaceAll(*text, root().find, root().replacement));
    if (status != Status::Ok) logError("cannot change the body: ", status);
  }

  bool request_ = false;
  bool response_ = false;
};

PROXY_PLUGIN(Rewrite, RewriteStream)
