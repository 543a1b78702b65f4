// Sentences from values.
#pragma once

#include <sstream>
#include <string>

#include "samdeploy/samdeploy.hpp"

namespace samdeploy::internal {

template <typename... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  out.imbue(std::locale::classic());
  out.precision(12);
  (out << ... << parts);
  return out.str();
}

/// Throw an `Error` whose sentence is made of `parts`.
template <typename... Parts>
[[noreturn]] void refuse(Fault fault, const Parts&... parts) {
  throw Error(fault, text(parts...));
}

/// The first line of a message of somebody else's, without its full stop.
inline std::string reason(const std::exception& error) {
  std::string line = error.what();
  line = line.substr(0, line.find('\n'));
  while (!line.empty() && (line.back() == '.' || line.back() == ' ' || line.back() == '\r')) line.pop_back();
  return line;
}

}  // namespace samdeploy::internal
