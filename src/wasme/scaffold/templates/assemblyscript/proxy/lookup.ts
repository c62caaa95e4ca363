// The contexts that are alive, by the numbers that the host calls with.

import { proxy_set_effective_context } from "./abi";
import { waitingFor } from "./calls";
import { Context, HttpContext, Kind, RootContext, TcpContext } from "./contexts";
import { ROWS, add, get, remove } from "./table";

// @ts-ignore: decorator
@lazy const contexts: usize = memory.data(ROWS * 4, 4);

/** From here on the host may call with its number. */
export function keep(context: Context): void {
  add(contexts, context);
}

/** The host has said that it is gone. */
export function forget(id: u32): void {
  remove(contexts, id);
}

export function find(id: u32): Context | null {
  return changetype<Context | null>(get(contexts, id)); // this table holds nothing else
}

export function root(id: u32): RootContext | null {
  const context = find(id);
  return context && context.kind == Kind.Root ? changetype<RootContext>(context) : null;
}

export function http(id: u32): HttpContext | null {
  const context = find(id);
  return context && context.kind == Kind.Http ? changetype<HttpContext>(context) : null;
}

export function tcp(id: u32): TcpContext | null {
  const context = find(id);
  return context && context.kind == Kind.Tcp ? changetype<TcpContext>(context) : null;
}

/** Whom an answer to a call-out belongs to: the host names the root, but it is for the context that asked, if alive. */
export function caller(token: u32, last: bool): Context | null {
  const context = waitingFor(token, last);
  if (!context || find(context.id) !== context) return null;
  proxy_set_effective_context(context.id);
  return context;
}
