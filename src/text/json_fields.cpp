#include "text/json_fields.hpp"

#include <nlohmann/json.hpp>

#include "text/utf8.hpp"

namespace baton::text {

void FirstError::set(ErrorCode code, const std::string& path, std::string_view problem) {
  if (!error_)
    error_ = make_error(
        code, "tokenizer.json: " + (path.empty() ? "the document" : path) + ": " + std::string(problem),
        path);
}

Fields::Fields(const nlohmann::json& object, std::string path, FirstError& error)
    : object_(&object), path_(std::move(path)), error_(&error) {
  if (!object.is_object())
    error.set(ErrorCode::corrupt, path_, std::string("must be an object, is ") + object.type_name());
}

std::string Fields::path_of(std::string_view name) const {
  return path_.empty() ? std::string(name) : path_ + "." + std::string(name);
}

void Fields::fail(std::string_view name, std::string_view problem) const {
  error_->set(ErrorCode::corrupt, path_of(name), problem);
}

void Fields::unsupported(std::string_view name, std::string_view problem) const {
  error_->set(ErrorCode::unsupported, path_of(name), problem);
}

const nlohmann::json* Fields::find(std::string_view name) const {
  if (!object_->is_object()) return nullptr;
  const auto it = object_->find(name);
  return it == object_->end() || it->is_null() ? nullptr : &*it;
}

bool Fields::has(std::string_view name) const { return find(name) != nullptr; }

std::string Fields::string(std::string_view name) const {
  if (!has(name)) fail(name, "is missing");
  return string(name, "");
}

std::string Fields::string(std::string_view name, std::string_view fallback) const {
  const nlohmann::json* value = find(name);
  if (value == nullptr) return std::string(fallback);
  if (const auto* text = value->get_ptr<const std::string*>()) return *text;
  fail(name, std::string("must be a string, is ") + value->type_name());
  return std::string(fallback);
}

bool Fields::boolean(std::string_view name, bool fallback) const {
  const nlohmann::json* value = find(name);
  if (value == nullptr) return fallback;
  if (const auto* flag = value->get_ptr<const bool*>()) return *flag;
  fail(name, std::string("must be true or false, is ") + value->type_name());
  return fallback;
}

std::int64_t Fields::integer(std::string_view name, std::int64_t fallback, std::int64_t low,
                             std::int64_t high) const {
  const nlohmann::json* value = find(name);
  if (value == nullptr) return fallback;
  if (!value->is_number_integer()) {
    fail(name, std::string("must be an integer, is ") + value->type_name());
    return fallback;
  }
  const bool huge =
      value->is_number_unsigned() && value->get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX);
  const std::int64_t number = huge ? INT64_MAX : value->get<std::int64_t>();
  if (number < low || number > high) {
    fail(name, "must lie between " + std::to_string(low) + " and " + std::to_string(high) + ", is " +
                   value->dump());
    return fallback;
  }
  return number;
}

const nlohmann::json* Fields::array(std::string_view name) const {
  const nlohmann::json* value = find(name);
  if (value != nullptr && value->is_array()) return value;
  fail(name, value == nullptr ? std::string("is missing")
                              : std::string("must be an array, is ") + value->type_name());
  return nullptr;
}

char32_t Fields::character(std::string_view name, char32_t fallback) const {
  if (!has(name)) return fallback;
  const std::string text = string(name, "");
  if (error_->failed()) return fallback;
  if (!text.empty()) {
    const CodePoint c = code_point_at(text, 0);
    if (c.length == text.size()) return c.value;
  }
  fail(name, "must be one character");
  return fallback;
}

}  // namespace baton::text
