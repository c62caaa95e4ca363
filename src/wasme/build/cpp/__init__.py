"""C++: zig, clang or Emscripten, with our SDK or the upstream one."""
