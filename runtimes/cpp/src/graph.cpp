#include "graph.hpp"

#include <algorithm>
#include <map>

#include "prompts.hpp"
#include "text.hpp"

namespace samdeploy::internal {
namespace {

std::int64_t power_of_two_from(std::int64_t value) {
  std::int64_t power = 1;
  while (power < value) power *= 2;
  return power;
}

/// `[prompts, tokens, ...]` with more tokens, of `value`.
Tensor filled_up(const Tensor& tensor, std::int64_t tokens, float value) {
  Tensor out{tensor.shape, {}};
  out.shape[1] = tokens;
  out.data.assign(count(out.shape), value);
  const auto prompts = static_cast<std::size_t>(tensor.shape[0]);
  const std::size_t from = tensor.data.size() / prompts;
  const std::size_t to = out.data.size() / prompts;
  for (std::size_t i = 0; i < prompts; i++) std::copy_n(tensor.data.data() + i * from, from, out.data.data() + i * to);
  return out;
}

Tensor part_of(const Tensor& tensor, std::int64_t start, std::int64_t stop) {
  const auto length = static_cast<std::ptrdiff_t>(tensor.data.size()) / tensor.shape[0];
  Tensor out{tensor.shape, {tensor.data.begin() + start * length, tensor.data.begin() + stop * length}};
  out.shape[0] = stop - start;
  return out;
}

void append(Tensor& tensor, const Tensor& more) {
  tensor.shape[0] += more.shape[0];
  tensor.data.insert(tensor.data.end(), more.data.begin(), more.data.end());
}

}  // namespace

Tensors Graph::run(const Feeds& feeds) const {
  Feeds wanted;
  std::vector<std::string> per_prompt;
  for (const TensorRecord& input : record_.inputs) {
    wanted[input.name] = feeds.at(input.name);
    if (input.per_prompt) per_prompt.push_back(input.name);
  }
  if (per_prompt.empty()) return run_checked(wanted);
  Tensors filled;
  const std::map<std::string, float> filling{{"point_coords", 0.0F}, {"point_labels", static_cast<float>(absent)}};
  for (const auto& [name, value] : filling) {
    const auto found = wanted.find(name);
    if (found == wanted.end()) continue;
    const std::int64_t tokens = found->second->shape[1];
    const std::int64_t more = power_of_two_from(tokens);
    if (more == tokens) continue;
    filled[name] = filled_up(*found->second, more, value);
    found->second = &filled[name];
  }
  // Prompts are not filled up, since that costs time: a call is divided, the largest part first.
  const std::int64_t prompts = wanted.at(per_prompt.front())->shape[0];
  Tensors answer;
  for (std::int64_t start = 0; start < prompts;) {
    std::int64_t step = power_of_two_from(prompts - start);
    if (step > prompts - start) step /= 2;
    if (step == prompts) return run_checked(wanted);
    Tensors parts;
    Feeds fed = wanted;
    for (const std::string& name : per_prompt) fed[name] = &(parts[name] = part_of(*wanted[name], start, start + step));
    for (auto& [name, tensor] : run_checked(fed)) {
      if (start == 0) {
        answer[name] = std::move(tensor);
      } else {
        append(answer[name], tensor);
      }
    }
    start += step;
  }
  return answer;
}

Tensors Graph::run_checked(const Feeds& feeds) const {
  CallSizes sizes;
  for (const TensorRecord& input : record_.inputs) {
    if (sizes.fit(input.sides, *feeds.at(input.name))) continue;
    refuse(Fault::bundle, "'", input.name, "' has another shape than the ", record_.role,
           " graph takes; export the bundle again.");
  }
  Tensors answer = session_.get()->run(feeds);
  sizes.imply(grid_);
  for (const TensorRecord& output : record_.outputs) {
    if (sizes.fit(output.sides, answer.at(output.name))) continue;
    refuse(Fault::runtime, "the ", record_.role, " graph gave '", output.name,
           "' another shape than its manifest tells; choose another device or export the bundle again.");
  }
  return answer;
}

}  // namespace samdeploy::internal
