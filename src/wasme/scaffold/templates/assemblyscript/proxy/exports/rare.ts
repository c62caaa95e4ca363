// For onRequestMetadata, onResponseMetadata, onForeignFunction and onValidateConfiguration, which few filters have.

import { Action } from "../abi";
import { pluginConfiguration } from "../buffers";
import { http, root } from "../lookup";

export function proxy_on_request_metadata(id: u32, count: u32): Action {
  const context = http(id);
  return context ? context.onRequestMetadata(count) : Action.Continue;
}

export function proxy_on_response_metadata(id: u32, count: u32): Action {
  const context = http(id);
  return context ? context.onResponseMetadata(count) : Action.Continue;
}

export function proxy_on_foreign_function(id: u32, functionId: u32, size: u32): void {
  const context = root(id);
  if (context) context.onForeignFunction(functionId, size);
}

export function proxy_validate_configuration(id: u32, size: u32): u32 {
  const context = root(id);
  return context ? context.onValidateConfiguration(pluginConfiguration.text()) : 0;
}
