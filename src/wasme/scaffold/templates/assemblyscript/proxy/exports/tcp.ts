// For a TcpContext: connections.

import { Action, PeerType } from "../abi";
import { tcp } from "../lookup";

export function proxy_on_new_connection(id: u32): Action {
  const context = tcp(id);
  return context ? context.onNewConnection() : Action.Continue;
}

export function proxy_on_downstream_data(id: u32, size: u32, endOfStream: u32): Action {
  const context = tcp(id);
  return context ? context.onDownstreamData(size, endOfStream != 0) : Action.Continue;
}

export function proxy_on_upstream_data(id: u32, size: u32, endOfStream: u32): Action {
  const context = tcp(id);
  return context ? context.onUpstreamData(size, endOfStream != 0) : Action.Continue;
}

export function proxy_on_downstream_connection_close(id: u32, peer: PeerType): void {
  const context = tcp(id);
  if (context) context.onDownstreamClose(peer);
}

export function proxy_on_upstream_connection_close(id: u32, peer: PeerType): void {
  const context = tcp(id);
  if (context) context.onUpstreamClose(peer);
}
