#include "arguments.hpp"

#include <set>

namespace cli {
namespace {

const std::set<std::string> names{"model",     "source", "points", "labels",  "bboxes",
                                  "multimask", "output", "device", "backend", "threads",
                                  "precision", "cache",  "logits", "repeat",  "warmup"};

std::string listed() {
  std::string all;
  for (const std::string& each : names) all += (all.empty() ? "" : ", ") + each;
  return all;
}

}  // namespace

void refuse(const std::string& sentence) { throw samdeploy::Error(samdeploy::Fault::input, sentence); }

Arguments::Arguments(int count, char** given) {
  samdeploy::WholeImageSettings tried;
  for (int i = 1; i < count; i++) {
    const std::string argument = given[i];
    const std::size_t equals = argument.find('=');
    const std::string name = argument.substr(0, equals);
    if (equals == std::string::npos) {
      refuse("'" + argument + "' stands alone; expected name=value with a name of " + listed() +
             ", or a whole-image setting.");
    }
    const std::string value = argument.substr(equals + 1);
    if (names.count(name) != 0) {
      values_[name] = value;
    } else {
      // Whatever it does not know is refused here, before a model is opened.
      try {
        tried.set(name, value);
      } catch (const samdeploy::Error& error) {
        const std::string sentence = error.what();
        if (sentence.find("unknown setting") != 0) throw;
        refuse("unknown argument '" + name + "'; expected " + listed() + ", or a whole-image setting such as " +
               "points_stride.");
      }
      settings_[name] = value;
    }
  }
}

std::string Arguments::text(const std::string& name, const std::string& otherwise) const {
  const auto found = values_.find(name);
  return found == values_.end() ? otherwise : found->second;
}

std::string Arguments::needed(const std::string& name) const {
  if (text(name).empty()) refuse("no " + name + " given; pass " + name + "=...");
  return text(name);
}

Json Arguments::list(const std::string& name) const {
  if (!has(name)) return nullptr;
  Json value = Json::parse(text(name), nullptr, false);
  if (!value.is_array()) refuse(name + "=" + text(name) + "; expected numbers in square brackets.");
  return value;
}

int Arguments::whole(const std::string& name, int otherwise) const {
  if (!has(name)) return otherwise;
  const std::string value = text(name);
  if (value.empty() || value.size() > 6 || value.find_first_not_of("0123456789") != std::string::npos) {
    refuse(name + "=" + value + "; expected a whole number.");
  }
  return std::stoi(value);
}

bool Arguments::flag(const std::string& name) const {
  const std::string value = text(name, "false");
  if (value != "true" && value != "false") refuse(name + "=" + value + "; expected true or false.");
  return value == "true";
}

}  // namespace cli
