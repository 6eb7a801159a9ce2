#include "text/grammar_text/schema_refs.hpp"

#include <charconv>
#include <utility>
#include <vector>

namespace baton::text {

namespace {

// The fragment of a URI: %41 stands for its byte.
std::string percent_decoded(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned char byte = 0;
    const char* digits = text.data() + i + 1;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(digits, digits + 2, byte, 16).ptr == digits + 2) {
      decoded += static_cast<char>(byte);
      i += 2;
    } else {
      decoded += text[i];
    }
  }
  return decoded;
}

// RFC 6901: ~1 is a slash, ~0 a tilde.
std::string pointer_decoded(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escape = text[i] == '~' && i + 1 < text.size() && (text[i + 1] == '0' || text[i + 1] == '1');
    decoded += !escape ? text[i] : text[i + 1] == '0' ? '~' : '/';
    if (escape) ++i;
  }
  return decoded;
}

const Json* step_into(const Json& value, const std::string& step) {
  if (value.is_object()) {
    const auto found = value.find(step);
    return found == value.end() ? nullptr : &*found;
  }
  if (!value.is_array()) return nullptr;
  std::size_t index = 0;
  const char* end = step.data() + step.size();
  const bool number = !step.empty() && std::from_chars(step.data(), end, index).ptr == end;
  return number && index < value.size() ? &value[index] : nullptr;
}

}  // namespace

SchemaTarget find_schema(const Json& root, const Json& reference, const std::string& path,
                         SchemaErrors& errors) {
  if (!reference.is_string()) {
    errors.invalid(path, "must be a string");
    return {};
  }
  const std::string fragment = percent_decoded(reference.get_ref<const std::string&>());
  if (fragment != "#" && !fragment.starts_with("#/")) {
    errors.unsupported(path, "only references into the same schema (\"#/...\") are supported");
    return {};
  }
  errors.spend(fragment.size());
  SchemaTarget target{&root, {}};
  std::string_view left = std::string_view(fragment).substr(1);
  while (!left.empty()) {
    left.remove_prefix(1);
    const std::size_t length = std::min(left.find('/'), left.size());
    const std::string step = pointer_decoded(left.substr(0, length));
    left.remove_prefix(length);
    if (target.schema->is_object()) errors.spend(target.schema->size());  // keys are looked for one by one
    target.schema = step_into(*target.schema, step);
    target.path = path_of(target.path, step);
    if (target.schema == nullptr) {
      errors.invalid(path, "refers to " + fragment + ", which is not there");
      return {};
    }
  }
  return target;
}

bool nested_deeper(const Json& value, std::size_t most) {
  std::vector<std::pair<const Json*, std::size_t>> open = {{&value, 0}};
  while (!open.empty()) {
    const auto [here, depth] = open.back();
    open.pop_back();
    if (depth > most) return true;
    if (!here->is_structured()) continue;
    for (const Json& inside : *here) open.emplace_back(&inside, depth + 1);
  }
  return false;
}

}  // namespace baton::text
