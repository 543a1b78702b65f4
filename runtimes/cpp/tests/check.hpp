// What a test says when it fails; `failures()` is its exit code.
#pragma once

#include <cstdio>
#include <string>

#include "samdeploy/samdeploy.hpp"

inline int& failures() {
  static int count = 0;
  return count;
}

inline void check(bool right, const std::string& what) {
  if (right) return;
  failures()++;
  std::fprintf(stderr, "FAILED: %s\n", what.c_str());
}

/// Whether `act` throws an `Error` of that fault whose sentence holds `expected`.
template <typename Act>
void check_refused(samdeploy::Fault fault, const std::string& expected, const Act& act) {
  try {
    act();
  } catch (const samdeploy::Error& error) {
    const std::string said = error.what();
    check(error.fault() == fault && said.find(expected) != std::string::npos && said.back() == '.',
          "expected '" + expected + "', was told '" + said + "'");
    return;
  }
  check(false, "expected '" + expected + "', was told nothing");
}
