// The host's functions, as they are: a filter seldom needs them, the rest of the SDK is made of them.
//
// Bytes go in as address and length. Bytes come out in memory that the host has asked our allocator for; it writes
// where and how many through two pointers, and they are ours to free: take() makes a String of them.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "types.h"
#include "version.h"

namespace proxy::abi {

#define PROXY_HOST(name) PROXY_IMPORT(#name) extern "C" Status name

PROXY_HOST(proxy_log)(LogLevel level, const char* text, size_t size);
PROXY_HOST(proxy_get_status)(uint32_t* code, char** message, size_t* size);

PROXY_HOST(proxy_get_property)(const char* path, size_t path_size, char** value, size_t* size);
PROXY_HOST(proxy_set_property)(const char* path, size_t path_size, const char* value, size_t size);

PROXY_HOST(proxy_get_buffer_bytes)(BufferType type, size_t start, size_t length, char** bytes, size_t* size);
PROXY_HOST(proxy_set_buffer_bytes)(BufferType type, size_t start, size_t length, const char* bytes, size_t size);
PROXY_HOST(proxy_get_buffer_status)(BufferType type, size_t* size, uint32_t* flags);

PROXY_HOST(proxy_get_header_map_value)(MapType map, const char* name, size_t name_size, char** value, size_t* size);
PROXY_HOST(proxy_add_header_map_value)(MapType map, const char* name, size_t name_size, const char* value, size_t size);
PROXY_HOST(proxy_replace_header_map_value)
(MapType map, const char* name, size_t name_size, const char* value, size_t size);
PROXY_HOST(proxy_remove_header_map_value)(MapType map, const char* name, size_t name_size);
PROXY_HOST(proxy_get_header_map_pairs)(MapType map, char** pairs, size_t* size);
PROXY_HOST(proxy_set_header_map_pairs)(MapType map, const char* pairs, size_t size);
PROXY_HOST(proxy_get_header_map_size)(MapType map, size_t* size);

PROXY_HOST(proxy_send_local_response)
(uint32_t status, const char* details, size_t details_size, const char* body, size_t body_size, const char* headers,
 size_t headers_size, int32_t grpc_status);

PROXY_HOST(proxy_http_call)
(const char* cluster, size_t cluster_size, const char* headers, size_t headers_size, const char* body, size_t body_size,
 const char* trailers, size_t trailers_size, uint32_t milliseconds, uint32_t* token);
PROXY_HOST(proxy_grpc_call)
(const char* service, size_t service_size, const char* name, size_t name_size, const char* method, size_t method_size,
 const char* metadata, size_t metadata_size, const char* message, size_t size, uint32_t milliseconds, uint32_t* token);
PROXY_HOST(proxy_grpc_stream)
(const char* service, size_t service_size, const char* name, size_t name_size, const char* method, size_t method_size,
 const char* metadata, size_t metadata_size, uint32_t* token);
PROXY_HOST(proxy_grpc_send)(uint32_t token, const char* message, size_t size, bool end_of_stream);
PROXY_HOST(proxy_grpc_cancel)(uint32_t token);
PROXY_HOST(proxy_grpc_close)(uint32_t token);

PROXY_HOST(proxy_get_shared_data)(const char* key, size_t key_size, char** value, size_t* size, uint32_t* cas);
PROXY_HOST(proxy_set_shared_data)(const char* key, size_t key_size, const char* value, size_t size, uint32_t cas);
PROXY_HOST(proxy_register_shared_queue)(const char* name, size_t size, uint32_t* queue);
PROXY_HOST(proxy_resolve_shared_queue)
(const char* vm_id, size_t vm_id_size, const char* name, size_t size, uint32_t* queue);
PROXY_HOST(proxy_enqueue_shared_queue)(uint32_t queue, const char* item, size_t size);
PROXY_HOST(proxy_dequeue_shared_queue)(uint32_t queue, char** item, size_t* size);

PROXY_HOST(proxy_define_metric)(MetricType type, const char* name, size_t size, uint32_t* metric);
PROXY_HOST(proxy_increment_metric)(uint32_t metric, int64_t offset);
PROXY_HOST(proxy_record_metric)(uint32_t metric, uint64_t value);
PROXY_HOST(proxy_get_metric)(uint32_t metric, uint64_t* value);

PROXY_HOST(proxy_set_tick_period_milliseconds)(uint32_t milliseconds);
PROXY_HOST(proxy_get_current_time_nanoseconds)(uint64_t* nanoseconds);
PROXY_HOST(proxy_set_effective_context)(uint32_t context);
PROXY_HOST(proxy_done)();
PROXY_HOST(proxy_call_foreign_function)
(const char* name, size_t name_size, const char* arguments, size_t arguments_size, char** result, size_t* size);

#if PROXY_ABI_NUMBER >= 21
PROXY_HOST(proxy_get_log_level)(LogLevel* level);
#endif
#if PROXY_ABI_NUMBER >= 20
PROXY_HOST(proxy_continue_stream)(StreamType stream);
PROXY_HOST(proxy_close_stream)(StreamType stream);
#else
PROXY_HOST(proxy_get_configuration)(char** bytes, size_t* size);
PROXY_HOST(proxy_continue_request)();
PROXY_HOST(proxy_continue_response)();
PROXY_HOST(proxy_clear_route_cache)();
#endif

#undef PROXY_HOST

}  // namespace proxy::abi
