#include "ptx.hpp"

#include <bit>
#include <cctype>
#include <cstring>
#include <stdexcept>

namespace baton::emulator::ptx {

namespace {

bool starts_name(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) || c == '_' || c == '$' || c == '%';
}
bool in_name(char c) { return starts_name(c) || std::isdigit(static_cast<unsigned char>(c)); }

std::size_t bytes_of(std::string_view type) {
  if (type.ends_with("64")) return 8;
  if (type.ends_with("32")) return 4;
  if (type.ends_with("16")) return 2;
  if (type.ends_with("8")) return 1;
  if (type == ".pred") return 4;
  throw std::runtime_error("PTX type " + std::string(type));
}

// Names (with % and, for opcodes and directives, dots), numbers, single characters.
class Tokens {
 public:
  explicit Tokens(std::string_view text) : text_(text) { skip(); }

  bool done() const { return at_ >= text_.size(); }
  char peek() const { return done() ? '\0' : text_[at_]; }
  bool take(char c) {
    if (peek() != c) return false;
    ++at_;
    skip();
    return true;
  }
  void expect(char c) {
    if (!take(c)) fail(std::string("expected ") + c);
  }
  // A name; with dots and colons where they belong to it.
  std::string name(bool dotted) {
    const std::size_t start = at_;
    if (!done() && (starts_name(text_[at_]) || text_[at_] == '.')) ++at_;
    while (!done() && (in_name(text_[at_]) || (dotted && (text_[at_] == '.' || is_double_colon())))) {
      at_ += is_double_colon() ? 2 : 1;
    }
    if (at_ == start) fail("expected a name");
    const std::string found(text_.substr(start, at_ - start));
    skip();
    return found;
  }
  std::string number() {
    const std::size_t start = at_;
    if (peek() == '-') ++at_;
    while (!done() && (std::isalnum(static_cast<unsigned char>(text_[at_])) || text_[at_] == '.')) ++at_;
    const std::string found(text_.substr(start, at_ - start));
    skip();
    return found;
  }
  void skip_past(char c) {
    while (!done() && text_[at_] != c) ++at_;
    ++at_;
    skip();
  }
  [[noreturn]] void fail(const std::string& what) const {
    const std::size_t end = std::min(text_.find('\n', at_), text_.size());
    const std::size_t begin = text_.rfind('\n', at_ == 0 ? 0 : at_ - 1);
    throw std::runtime_error(
        "PTX: " + what + " at: " +
        std::string(text_.substr(begin == std::string_view::npos ? 0 : begin + 1,
                                 end - (begin == std::string_view::npos ? 0 : begin + 1))));
  }

 private:
  bool is_double_colon() const { return text_.substr(at_, 2) == "::"; }
  void skip() {
    while (!done()) {
      if (std::isspace(static_cast<unsigned char>(text_[at_]))) {
        ++at_;
      } else if (text_.substr(at_, 2) == "//") {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else if (text_.substr(at_, 2) == "/*") {
        at_ = std::min(text_.find("*/", at_) + 2, text_.size());
      } else {
        break;
      }
    }
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

class Parser {
 public:
  explicit Parser(std::string_view text) : tokens_(text) {}

  Module module() {
    while (!tokens_.done()) {
      const std::string directive = tokens_.name(false);
      if (directive == ".version") {
        tokens_.number();
      } else if (directive == ".target") {
        tokens_.name(false);
        while (tokens_.take(',')) tokens_.name(false);
      } else if (directive == ".address_size") {
        tokens_.number();
      } else if (directive == ".visible" || directive == ".extern" || directive == ".weak" ||
                 directive == ".common") {
        continue;
      } else if (directive == ".entry" || directive == ".func") {
        function(directive == ".entry");
      } else {
        module_.variables.push_back(variable(space_of(directive)));
        tokens_.expect(';');
      }
    }
    return std::move(module_);
  }

 private:
  Space space_of(const std::string& directive) const {
    if (directive == ".global") return Space::global;
    if (directive == ".const") return Space::constant;
    if (directive == ".shared") return Space::shared;
    if (directive == ".local") return Space::local;
    if (directive == ".param") return Space::param;
    tokens_.fail("unknown directive " + directive);
  }

  // After its space: [.align N] .type name[[count]] [= {…}]
  Variable variable(Space space) {
    Variable made;
    made.space = space;
    std::string type = tokens_.name(false);
    while (type == ".align" || type == ".ptr" || type == ".global") {
      if (type == ".align") made.align = std::stoul(tokens_.number());
      type = tokens_.name(false);
    }
    const std::size_t element = bytes_of(type);
    made.align = std::max(made.align, element);
    made.name = tokens_.name(false);
    made.bytes = element;
    if (tokens_.take('[')) {
      made.bytes = tokens_.peek() == ']' ? 0 : element * std::stoul(tokens_.number());
      tokens_.expect(']');
    }
    if (tokens_.take('=')) {
      tokens_.expect('{');
      do {
        const std::uint64_t bits = number().bits;
        const auto* raw = reinterpret_cast<const std::byte*>(&bits);
        made.initial.insert(made.initial.end(), raw, raw + element);
      } while (tokens_.take(','));
      tokens_.expect('}');
    }
    return made;
  }

  void function(bool entry) {
    function_ = Function{};
    function_.entry = entry;
    function_.scope_parents = {-1};
    scope_names_ = {{}};
    if (!entry && tokens_.peek() == '(') tokens_.fail("functions that return something are not supported");
    function_.name = tokens_.name(false);
    if (tokens_.take('(')) {
      while (!tokens_.take(')')) {
        if (tokens_.name(false) != ".param") tokens_.fail("expected .param");
        function_.parameters.push_back(variable(Space::param));
        tokens_.take(',');
      }
    }
    while (tokens_.peek() == '.') {  // .maxntid 288, 1, 1 and the like
      tokens_.name(false);
      while (std::isdigit(static_cast<unsigned char>(tokens_.peek()))) {
        tokens_.number();
        if (!tokens_.take(',')) break;
      }
    }
    if (tokens_.take(';')) return;  // declared here, defined elsewhere
    tokens_.expect('{');
    body(0);
    module_.functions.push_back(std::move(function_));
  }

  void body(int scope) {
    while (!tokens_.take('}')) {
      if (tokens_.done()) tokens_.fail("the text ends inside a function");
      if (tokens_.take('{')) {
        function_.scope_parents.push_back(scope);
        scope_names_.emplace_back();
        body(static_cast<int>(scope_names_.size()) - 1);
      } else if (tokens_.peek() == '.') {
        declaration(scope);
      } else {
        statement(scope);
      }
    }
  }

  void declaration(int scope) {
    const std::string directive = tokens_.name(false);
    if (directive == ".reg") {
      const std::size_t width = std::max<std::size_t>(bytes_of(tokens_.name(false)), 4);
      do {
        const std::string name = tokens_.name(false);
        if (tokens_.take('<')) {
          const int count = std::stoi(tokens_.number());
          tokens_.expect('>');
          for (int i = 0; i < count; ++i) declare(scope, name + std::to_string(i), width);
        } else {
          declare(scope, name, width);
        }
      } while (tokens_.take(','));
      tokens_.expect(';');
    } else if (directive == ".pragma" || directive == ".loc" || directive == ".file") {
      tokens_.skip_past(';');
    } else if (directive == ".param") {  // what a call hands over: a register of its own
      const Variable made = variable(Space::param);
      if (made.bytes > 8) tokens_.fail("parameters of functions of more than 8 bytes are not supported");
      declare(scope, made.name, 8);
      tokens_.expect(';');
    } else {
      function_.variables.push_back(variable(space_of(directive)));
      tokens_.expect(';');
    }
  }

  void declare(int scope, const std::string& name, std::size_t width) {
    const std::string unique = scope == 0 ? name : name + "@" + std::to_string(scope);
    scope_names_[static_cast<std::size_t>(scope)][name] = unique;
    function_.widths[unique] = width;
  }

  std::string unique(int scope, const std::string& name) const {
    for (int at = scope; at >= 0; at = function_.scope_parents[static_cast<std::size_t>(at)]) {
      const auto& names = scope_names_[static_cast<std::size_t>(at)];
      if (const auto found = names.find(name); found != names.end()) return found->second;
    }
    return name;
  }

  void statement(int scope) {
    Statement made;
    made.scope = scope;
    if (tokens_.take('@')) {
      made.guard_inverted = tokens_.take('!');
      made.guard = unique(scope, tokens_.name(false));
    }
    made.opcode = tokens_.name(true);
    if (made.guard.empty() && made.opcode.find('.') == std::string::npos && tokens_.peek() == ':') {
      tokens_.expect(':');
      function_.labels[{scope, made.opcode}] = static_cast<int>(function_.statements.size());
      return;
    }
    while (!tokens_.take(';')) {
      made.arguments.push_back(argument(scope));
      while (tokens_.take('|')) made.arguments.push_back(argument(scope));
      tokens_.take(',');
    }
    function_.statements.push_back(std::move(made));
  }

  Argument number() {
    Argument made;
    made.kind = Argument::Kind::integer;
    const std::string text = tokens_.number();
    if (text.starts_with("0f") || text.starts_with("0F")) {
      made.kind = Argument::Kind::real32;
      made.bits = std::stoull(text.substr(2), nullptr, 16);
    } else if (text.starts_with("0d") || text.starts_with("0D")) {
      made.kind = Argument::Kind::real64;
      made.bits = std::stoull(text.substr(2), nullptr, 16);
    } else if (text.find('.') != std::string::npos) {
      made.kind = Argument::Kind::real64;
      made.bits = std::bit_cast<std::uint64_t>(std::stod(text));
    } else if (text.starts_with("-")) {
      made.bits = static_cast<std::uint64_t>(std::stoll(text, nullptr, 0));
    } else {
      made.bits = std::stoull(text.ends_with("U") ? text.substr(0, text.size() - 1) : text, nullptr, 0);
    }
    return made;
  }

  Argument argument(int scope) {
    Argument made;
    const char next = tokens_.peek();
    if (tokens_.take('{') || tokens_.take('(')) {
      made.kind = Argument::Kind::list;
      while (!tokens_.take(next == '{' ? '}' : ')')) {
        made.elements.push_back(argument(scope));
        tokens_.take(',');
      }
    } else if (tokens_.take('[')) {
      made.kind = Argument::Kind::memory;
      made.elements.push_back(argument(scope));
      if (tokens_.take('+')) made.bits = number().bits;
      while (tokens_.take(',')) made.elements.push_back(argument(scope));
      tokens_.expect(']');
    } else if (std::isdigit(static_cast<unsigned char>(next)) || next == '-') {
      made = number();
    } else {
      made.inverted = tokens_.take('!');
      const std::string name = tokens_.name(true);
      if (name == "_") return made;
      made.kind = Argument::Kind::name;
      made.name = unique(scope, name);
    }
    return made;
  }

  Tokens tokens_;
  Module module_;
  Function function_;
  std::vector<std::map<std::string, std::string>> scope_names_;
};

}  // namespace

int Function::find_label(int scope, const std::string& label) const {
  for (int at = scope; at >= 0; at = scope_parents[static_cast<std::size_t>(at)]) {
    if (const auto found = labels.find({at, label}); found != labels.end()) return found->second;
  }
  return -1;
}

const Function* Module::find(std::string_view name) const {
  for (const Function& function : functions) {
    if (function.name == name) return &function;
  }
  return nullptr;
}

Module parse(std::string_view text) { return Parser(text).module(); }

}  // namespace baton::emulator::ptx
