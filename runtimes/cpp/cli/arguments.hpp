// Arguments of the form name=value.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "samdeploy/samdeploy.hpp"

namespace cli {

using Json = nlohmann::ordered_json;

[[noreturn]] void refuse(const std::string& sentence);

class Arguments {
 public:
  /// Refuses what has no known name.
  Arguments(int count, char** given);

  bool has(const std::string& name) const { return values_.count(name) != 0; }
  std::string text(const std::string& name, const std::string& otherwise = "") const;
  std::string needed(const std::string& name) const;
  /// Numbers in lists, or null.
  Json list(const std::string& name) const;
  int whole(const std::string& name, int otherwise = 0) const;
  bool flag(const std::string& name) const;
  /// Settings of whole-image mode that were given.
  const std::map<std::string, std::string>& settings() const { return settings_; }

 private:
  std::map<std::string, std::string> values_;
  std::map<std::string, std::string> settings_;
};

}  // namespace cli
