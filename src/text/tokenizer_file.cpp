#include "text/tokenizer_file.hpp"

#include <nlohmann/json.hpp>

namespace baton::text {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxDepth = 64;

// nlohmann's SAX interface. Returning false stops the parse; error_ then says why.
class Reader {
 public:
  Reader(TokenizerFile& file, json& rest) : file_(file), rest_(rest) {}

  const Error& error() const { return error_; }

  bool null() { return scalar(nullptr, "null"); }
  bool boolean(bool value) { return scalar(value, "a boolean"); }
  bool number_integer(json::number_integer_t value) { return number(value); }
  bool number_unsigned(json::number_unsigned_t value) {
    if (value > static_cast<json::number_unsigned_t>(INT64_MAX))
      return scalar(value, "a number beyond 64 bits");
    return number(static_cast<std::int64_t>(value));
  }
  bool number_float(json::number_float_t value, const std::string& /*text*/) {
    return scalar(value, "a fraction");
  }
  bool binary(json::binary_t& /*value*/) { return fail("document", "binary value"); }

  bool string(std::string& value) {
    switch (table_) {
      case Table::merges:
        file_.merges.push_back({std::move(value), {}, false});
        return true;
      case Table::pair:
        if (pair_size_ == 0) file_.merges.push_back({std::move(value), {}, true});
        if (pair_size_ == 1) file_.merges.back().right = std::move(value);
        if (++pair_size_ > 2) return fail(merge_path(), "a merge has two halves");
        return true;
      case Table::vocab:
        return fail("model.vocab", "the id of \"" + key_ + "\" must be an integer, is a string");
      case Table::none:
        return add(std::move(value));
    }
    return false;
  }

  bool start_object(std::size_t /*size*/) {
    if (table_ != Table::none) return fail(table_path(), "an object inside the table");
    if (at_table("vocab")) {
      table_ = Table::vocab;
      file_.has_vocab = true;
      return true;
    }
    return open(json::object());
  }
  bool key(std::string& value) {
    key_ = std::move(value);
    return true;
  }
  bool end_object() { return close(); }

  bool start_array(std::size_t /*size*/) {
    if (table_ == Table::merges) {
      table_ = Table::pair;
      pair_size_ = 0;
      return true;
    }
    if (table_ != Table::none) return fail(table_path(), "an array inside the table");
    if (at_table("merges")) {
      table_ = Table::merges;
      file_.has_merges = true;
      return true;
    }
    return open(json::array());
  }
  bool end_array() {
    if (table_ == Table::pair) {
      if (pair_size_ != 2) return fail(merge_path(), "a merge has two halves");
      table_ = Table::merges;
      return true;
    }
    return close();
  }

  bool parse_error(std::size_t position, const std::string& /*token*/, const json::exception& e) {
    error_ = make_error(ErrorCode::corrupt, "tokenizer.json: not valid JSON at byte " +
                                                std::to_string(position) + ": " + e.what());
    return false;
  }

 private:
  enum class Table : std::uint8_t { none, vocab, merges, pair };

  bool fail(const std::string& path, const std::string& problem) {
    error_ = make_error(ErrorCode::corrupt, "tokenizer.json: " + path + ": " + problem, path);
    return false;
  }
  std::string merge_path() const { return "model.merges[" + std::to_string(file_.merges.size()) + "]"; }
  std::string table_path() const { return table_ == Table::vocab ? "model.vocab" : merge_path(); }

  // The value that opens now is the member `name` of the top-level "model".
  bool at_table(std::string_view name) const {
    return open_.size() == 2 && in_model_ && open_.back()->is_object() && key_ == name;
  }

  bool number(std::int64_t value) {
    if (table_ == Table::vocab) {
      file_.vocab.push_back({std::move(key_), value});
      return true;
    }
    return scalar(value, "a number");
  }
  bool scalar(json value, const char* kind) {
    if (table_ == Table::vocab)
      return fail("model.vocab", "the id of \"" + key_ + "\" must be an integer, is " + kind);
    if (table_ != Table::none)
      return fail(merge_path(), std::string("must be a string or a pair of strings, is ") + kind);
    return add(std::move(value));
  }

  bool add(json value) {
    if (open_.empty()) {
      rest_ = std::move(value);
    } else if (open_.back()->is_array()) {
      open_.back()->push_back(std::move(value));
    } else {
      (*open_.back())[key_] = std::move(value);
    }
    return true;
  }
  bool open(json container) {
    if (open_.size() >= kMaxDepth) return fail("document", "nested deeper than " + std::to_string(kMaxDepth));
    if (open_.size() == 1) in_model_ = open_.back()->is_object() && key_ == "model";
    add(std::move(container));
    json* parent = open_.empty() ? nullptr : open_.back();
    open_.push_back(parent == nullptr ? &rest_ : parent->is_array() ? &parent->back() : &(*parent)[key_]);
    return true;
  }
  bool close() {
    if (table_ != Table::none) {
      table_ = Table::none;
    } else {
      open_.pop_back();
    }
    return true;
  }

  TokenizerFile& file_;
  json& rest_;
  std::vector<json*>
      open_;  // the containers around the next value; only the last one grows, so the pointers stay good
  std::string key_;
  Table table_ = Table::none;
  bool in_model_ = false;
  int pair_size_ = 0;
  Error error_ = make_error(ErrorCode::corrupt, "tokenizer.json: not valid JSON");
};

}  // namespace

Result<TokenizerFile> read_tokenizer_file(std::string_view text, json& rest) {
  TokenizerFile file;
  Reader reader(file, rest);
  if (!json::sax_parse(text.begin(), text.end(), &reader)) return reader.error();
  return file;
}

}  // namespace baton::text
