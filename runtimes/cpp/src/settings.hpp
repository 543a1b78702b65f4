// Settings of whole-image mode: the table of all that have a name.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "samdeploy/samdeploy.hpp"

namespace samdeploy::internal {

/// A setting as Python names it, where it is kept, and its least and most.
struct Setting {
  const char* name;
  std::variant<int WholeImageSettings::*, std::int64_t WholeImageSettings::*, double WholeImageSettings::*,
               bool WholeImageSettings::*>
      field;
  double least = 0;
  double most = 1;
  /// What else it is called, by Meta and in Ultralytics' other functions.
  std::vector<std::string> other_names;
};
const std::vector<Setting>& all_settings();

/// The setting of a name; throws where there is none.
const Setting& setting_named(const std::string& name);

/// `grid` or `adaptive`; throws where it is neither.
void set_mode(WholeImageSettings& settings, const std::string& mode);

/// Throw what is out of range.
void check_settings(const WholeImageSettings& settings);

/// Grid points along a side of the crops of a layer; 0 is the whole image.
int points_along(const WholeImageSettings& settings, int layer);

}  // namespace samdeploy::internal
