// What the host calls: names and signatures are the ABI's, and each function finds the context that it is about.
//
// With `export * from "./proxy/exports"` in its entry file a filter has every callback. One that names only the files it
// needs makes a smaller module: "./proxy/exports/plugin" always, and each other one whose callbacks it overrides.

export * from "./plugin";
export * from "./http";
export * from "./tcp";
export * from "./calls";
export * from "./grpc";
export * from "./timers";
export * from "./rare";
