// Everything a filter imports: `import { … } from "./proxy"`.

export {
  Action, BufferType, DataAction, HeadersAction, LogLevel, MapType, MetricType, PeerType, Status, StreamType,
} from "./abi";
export {
  Buffer, callResponseBody, downstreamData, foreignFunctionArguments, grpcMessage, pluginConfiguration, requestBody,
  responseBody, upstreamData, vmConfiguration,
} from "./buffers";
export { indexOf, replaceAll } from "./bytes";
export { grpcCall, grpcCancel, grpcClose, grpcSend, grpcStatusMessage, grpcStream, httpCall } from "./calls";
export { Context, HttpContext, RootContext, StreamContext, TcpContext } from "./contexts";
export {
  HeaderMap, Headers, callResponseHeaders, callResponseTrailers, grpcInitialMetadata, grpcTrailingMetadata,
  requestHeaders, requestTrailers, responseHeaders, responseTrailers,
} from "./headers";
export {
  callForeignFunction, currentTime, getProperty, getPropertyBool, getPropertyFloat, getPropertyInteger, getPropertyText,
  setProperty,
} from "./host";
export { JsonObject } from "./json";
export { log, logCritical, logDebug, logError, logInfo, logLevel, logTrace, logWarn } from "./log";
export { isUtf8, text, utf8 } from "./memory";
export { Counter, Gauge, Histogram } from "./metrics";
export { register } from "./register";
export { SharedData, dequeue, enqueue, getSharedData, registerSharedQueue, resolveSharedQueue, setSharedData } from "./shared";
