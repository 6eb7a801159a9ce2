#include "model/safetensors.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_set>

namespace baton {
namespace {

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's bound
constexpr std::size_t kMaxRank = 8;
constexpr std::uint64_t kMaxElements = std::uint64_t{1} << 48;

struct TypeSize {
  std::string_view name;
  std::uint64_t bytes;
};
constexpr TypeSize kTypeSizes[] = {{"F64", 8}, {"F32", 4}, {"F16", 2},     {"BF16", 2},   {"F8_E4M3", 1},
                                   {"I64", 8}, {"I32", 4}, {"I16", 2},     {"I8", 1},     {"F8_E5M2", 1},
                                   {"U64", 8}, {"U32", 4}, {"U16", 2},     {"U8", 1},     {"BOOL", 1},
                                   {"C64", 8}, {"F4", 0},  {"F6_E2M3", 0}, {"F6_E3M2", 0}};

// Reads the header as events, so that a hostile one costs no more memory than the tensors that it names:
// nothing nests deeper than {name: {key: [..]}}, and the first event out of place ends it.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::vector<SafetensorsEntry> entries;  // offsets still relative to the data
  std::string problem;

  bool null() override { return misplaced("null"); }
  bool boolean(bool) override { return misplaced("a boolean"); }
  bool number_integer(std::int64_t) override { return misplaced("a negative number"); }
  bool number_float(double, const std::string&) override { return misplaced("a fraction"); }
  bool binary(nlohmann::json::binary_t&) override { return misplaced("binary"); }

  bool number_unsigned(std::uint64_t value) override {
    if (place_ == Place::shape && entries.back().shape.size() < kMaxRank && value <= kMaxElements) {
      entries.back().shape.push_back(static_cast<std::int64_t>(value));
      return true;
    }
    if (place_ == Place::offsets && offsets_ < 2) {
      (offsets_++ == 0 ? entries.back().begin : entries.back().end) = value;
      return true;
    }
    return misplaced(place_ == Place::shape ? "a dimension too many or too large" : "a number");
  }

  bool string(std::string& value) override {
    if (place_ == Place::metadata_value) {
      place_ = Place::metadata;
      return true;
    }
    if (place_ != Place::dtype) return misplaced("a string");
    entries.back().dtype_name = value;
    entries.back().dtype = weight_dtype(value);
    place_ = Place::entry;
    return true;
  }

  bool start_object(std::size_t) override {
    if (place_ == Place::start)
      place_ = Place::tensors;
    else if (place_ == Place::metadata_open)
      place_ = Place::metadata;
    else if (place_ == Place::entry_open)
      place_ = Place::entry;
    else
      return misplaced("an object");
    return true;
  }

  bool key(std::string& name) override {
    if (place_ == Place::tensors) return tensor_name(name);
    if (place_ == Place::metadata) {
      place_ = Place::metadata_value;
      return true;
    }
    unsigned bit = 0;
    if (name == "dtype") {
      place_ = Place::dtype;
      bit = 1;
    } else if (name == "shape") {
      place_ = Place::shape_open;
      bit = 2;
    } else if (name == "data_offsets") {
      place_ = Place::offsets_open;
      bit = 4;
    } else {
      problem = "has an unknown key '" + name + "'";
      return false;
    }
    if (keys_seen_ & bit) {
      problem = "has '" + name + "' twice";
      return false;
    }
    keys_seen_ |= bit;
    return true;
  }

  bool end_object() override {
    if (place_ == Place::entry && keys_seen_ != 7) {
      problem = "lacks dtype, shape or data_offsets";
      return false;
    }
    place_ = place_ == Place::tensors ? Place::done : Place::tensors;
    in_entry_ = false;
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ == Place::shape_open)
      place_ = Place::shape;
    else if (place_ == Place::offsets_open)
      place_ = Place::offsets;
    else
      return misplaced("an array");
    return true;
  }

  bool end_array() override {
    if (place_ == Place::offsets && offsets_ != 2) {
      problem = "data_offsets must hold two numbers";
      return false;
    }
    place_ = Place::entry;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception& /*error*/) override {
    problem = "is not valid JSON at byte " + std::to_string(position);
    in_entry_ = false;
    return false;
  }

  // The tensor whose description is wrong; empty where the header as a whole is.
  std::string wrong_tensor() const { return in_entry_ ? entries.back().name : std::string(); }

 private:
  enum class Place : std::uint8_t {
    start,
    tensors,
    metadata_open,
    metadata,
    metadata_value,
    entry_open,
    entry,
    dtype,
    shape_open,
    shape,
    offsets_open,
    offsets,
    done
  };

  bool misplaced(const std::string& what) {
    problem = "has " + what + " where it does not belong";
    return false;
  }

  bool tensor_name(std::string& name) {
    if (name == "__metadata__") {
      place_ = Place::metadata_open;
      return true;
    }
    entries.emplace_back().name = name;
    keys_seen_ = 0;
    offsets_ = 0;
    in_entry_ = true;
    if (!names_.insert(name).second) {
      problem = "is named twice";
      return false;
    }
    place_ = Place::entry_open;
    return true;
  }

  Place place_ = Place::start;
  unsigned keys_seen_ = 0;
  int offsets_ = 0;
  bool in_entry_ = false;
  std::unordered_set<std::string> names_;
};

// What is wrong with one tensor's size and place, or nothing.
std::string check_entry(const SafetensorsEntry& entry, std::uint64_t data_bytes) {
  if (entry.begin > entry.end || entry.end > data_bytes)
    return "data_offsets [" + std::to_string(entry.begin) + ", " + std::to_string(entry.end) +
           "] lie outside the file's " + std::to_string(data_bytes) + " bytes of data";
  std::uint64_t elements = 1;
  for (const std::int64_t dimension : entry.shape) {
    const auto n = static_cast<std::uint64_t>(dimension);
    if (n != 0 && elements > kMaxElements / n)
      return "shape " + shape_to_string(entry.shape) + " is absurdly large";
    elements *= n;
  }
  const auto* type = std::find_if(std::begin(kTypeSizes), std::end(kTypeSizes),
                                  [&](const TypeSize& t) { return t.name == entry.dtype_name; });
  if (type == std::end(kTypeSizes)) return "dtype '" + entry.dtype_name + "' is not one of safetensors'";
  const std::uint64_t bytes = elements * type->bytes;
  if (type->bytes != 0 && bytes != entry.end - entry.begin)
    return "shape " + shape_to_string(entry.shape) + " of " + entry.dtype_name + " needs " +
           std::to_string(bytes) + " bytes, but data_offsets span " + std::to_string(entry.end - entry.begin);
  return {};
}

std::uint64_t read_length(std::span<const std::byte> file) {
  std::uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | std::to_integer<std::uint64_t>(file[i]);
  return length;
}

}  // namespace

std::optional<DType> weight_dtype(std::string_view safetensors_name) {
  if (safetensors_name == "F32") return DType::f32;
  if (safetensors_name == "F16") return DType::f16;
  if (safetensors_name == "BF16") return DType::bf16;
  if (safetensors_name == "F8_E4M3") return DType::e4m3;
  return std::nullopt;
}

std::string_view safetensors_dtype_name(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "F32";
    case DType::f16:
      return "F16";
    case DType::bf16:
      return "BF16";
    case DType::e4m3:
      return "F8_E4M3";
    case DType::i32:
      break;
  }
  return "I32";
}

std::string shape_to_string(std::span<const std::int64_t> shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

Result<std::vector<SafetensorsEntry>> parse_safetensors(std::span<const std::byte> file,
                                                        const std::string& file_name) {
  const auto corrupt = [&](const std::string& what, const std::string& tensor = {}) {
    return make_error(ErrorCode::corrupt, file_name + ": " + what, tensor);
  };
  if (file.size() < 8) return corrupt("truncated: shorter than the 8 bytes that give the header's length");
  const std::uint64_t header_bytes = read_length(file);
  if (header_bytes > kMaxHeaderBytes)
    return corrupt("the header's length, " + std::to_string(header_bytes) +
                   " bytes, exceeds the limit of 100 MB: not a safetensors file?");
  if (header_bytes > file.size() - 8)
    return corrupt("truncated: the header should have " + std::to_string(header_bytes) + " bytes, but only " +
                   std::to_string(file.size() - 8) + " follow");
  const auto* text = reinterpret_cast<const char*>(file.data()) + 8;

  HeaderReader reader;
  if (!nlohmann::json::sax_parse(text, text + header_bytes, &reader)) {
    const std::string tensor = reader.wrong_tensor();
    return corrupt((tensor.empty() ? "the header " : "tensor '" + tensor + "' ") + reader.problem, tensor);
  }
  const std::uint64_t data_begin = 8 + header_bytes;
  std::vector<SafetensorsEntry> entries = std::move(reader.entries);
  for (SafetensorsEntry& entry : entries) {
    const std::string problem = check_entry(entry, file.size() - data_begin);
    if (!problem.empty()) return corrupt("tensor '" + entry.name + "': " + problem, entry.name);
    entry.begin += data_begin;
    entry.end += data_begin;
  }
  std::sort(entries.begin(), entries.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  for (std::size_t i = 1; i < entries.size(); ++i)
    if (entries[i].begin < entries[i - 1].end)
      return corrupt("tensors '" + entries[i - 1].name + "' and '" + entries[i].name + "' share bytes",
                     entries[i].name);
  return entries;
}

}  // namespace baton
