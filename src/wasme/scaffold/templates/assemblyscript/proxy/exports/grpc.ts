// For onGrpc…: what comes back from `grpcCall` and `grpcStream`.

import { caller } from "../lookup";

export function proxy_on_grpc_receive_initial_metadata(id: u32, token: u32, count: u32): void {
  const context = caller(token, false);
  if (context) context.onGrpcInitialMetadata(token, count);
}

export function proxy_on_grpc_receive(id: u32, token: u32, size: u32): void {
  const context = caller(token, false);
  if (context) context.onGrpcMessage(token, size);
}

export function proxy_on_grpc_receive_trailing_metadata(id: u32, token: u32, count: u32): void {
  const context = caller(token, false);
  if (context) context.onGrpcTrailingMetadata(token, count);
}

export function proxy_on_grpc_close(id: u32, token: u32, status: u32): void {
  const context = caller(token, true);
  if (context) context.onGrpcClose(token, status);
}
