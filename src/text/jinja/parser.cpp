#include "text/jinja/parser.hpp"

#include <algorithm>

#include "text/jinja/expression_parser.hpp"
#include "text/jinja/lexer.hpp"

namespace baton::text::jinja {
namespace {

constexpr int kMaxBlockDepth = 60;

class TemplateParser {
 public:
  explicit TemplateParser(std::vector<Token> tokens) : stream_(std::move(tokens)), expressions_(stream_) {}

  Result<Block> run() {
    Block block = body({});
    if (!stream_.failed() && !stream_.at(TokenKind::end))
      stream_.fail("an unexpected '" + stream_.peek(1).text + "'");
    if (stream_.failed()) return stream_.error();
    return block;
  }

 private:
  using Kind = Statement::Kind;
  using StatementPtr = std::unique_ptr<Statement>;

  StatementPtr node(Kind kind) const {
    auto made = std::make_unique<Statement>();
    made->kind = kind;
    made->line = stream_.peek().line;
    return made;
  }

  // Up to a tag whose name is one of `ends`; that tag's "{%" and name are left.
  Block body(std::initializer_list<std::string_view> ends) {
    Block block;
    if (++depth_ > kMaxBlockDepth) stream_.fail("blocks nested too deep");
    while (!stream_.failed() && !stream_.at(TokenKind::end)) {
      if (stream_.at(TokenKind::data)) {
        auto made = node(Kind::text);
        made->text = stream_.take().text;
        block.push_back(std::move(made));
      } else if (stream_.at(TokenKind::variable_begin)) {
        stream_.take();
        auto made = node(Kind::output);
        made->expression = expressions_.tuple(true);
        expect(TokenKind::variable_end);
        block.push_back(std::move(made));
      } else {
        const Token& name = stream_.peek(1);
        if (name.kind == TokenKind::name && std::find(ends.begin(), ends.end(), name.text) != ends.end())
          break;
        stream_.take();
        if (StatementPtr made = statement()) block.push_back(std::move(made));
      }
    }
    --depth_;
    return block;
  }

  void expect(TokenKind kind) {
    if (stream_.at(kind)) {
      stream_.take();
    } else {
      stream_.fail("an unexpected '" + stream_.peek().text + "'");
    }
  }

  // The body up to {% end %}, whole closing tag included.
  Block body_to(std::string_view end) {
    expect(TokenKind::block_end);
    Block block = body({end});
    close(end);
    return block;
  }
  void close(std::string_view end) {
    stream_.take();
    if (!stream_.take_name(end)) stream_.fail("expected " + std::string(end));
    expect(TokenKind::block_end);
  }

  StatementPtr statement() {
    const std::string name = stream_.expect_name();
    if (name == "if") return if_else();
    if (name == "for") return for_loop();
    if (name == "set") return assign();
    if (name == "macro") return macro();
    if (name == "call") return call_block();
    if (name == "filter") return filter_block();
    if (name == "with") return with();
    if (name == "generation") return scope("endgeneration");
    if (name == "break" || name == "continue") {
      if (loops_ == 0) stream_.fail("'" + name + "' outside of a loop");
      auto made = node(name == "break" ? Kind::break_loop : Kind::continue_loop);
      expect(TokenKind::block_end);
      return made;
    }
    static constexpr std::string_view kOther[] = {"extends",    "include", "import", "from", "block",
                                                  "autoescape", "trans",   "do",     "debug"};
    const bool known = std::find(std::begin(kOther), std::end(kOther), name) != std::end(kOther);
    stream_.fail(known ? "the tag '" + name + "' is not supported" : "an unknown tag '" + name + "'",
                 known ? ErrorCode::unsupported : ErrorCode::invalid_argument);
    return nullptr;
  }

  StatementPtr if_else() {
    auto made = node(Kind::if_else);
    ExpressionPtr condition = expressions_.tuple(false);
    while (!stream_.failed()) {
      expect(TokenKind::block_end);
      const bool last = condition == nullptr;
      Block block = last ? body({"endif"}) : body({"elif", "else", "endif"});
      made->branches.emplace_back(std::move(condition), std::move(block));
      condition = nullptr;
      stream_.take();
      if (!last && stream_.take_name("elif")) {
        condition = expressions_.tuple(false);
      } else if (last || !stream_.take_name("else")) {
        if (!stream_.take_name("endif")) stream_.fail("expected endif");
        expect(TokenKind::block_end);
        break;
      }
    }
    return made;
  }

  StatementPtr for_loop() {
    auto made = node(Kind::for_loop);
    made->target = expressions_.target(false);
    if (!stream_.take_name("in")) stream_.fail("expected 'in'");
    made->expression = expressions_.tuple(false);
    if (stream_.take_name("if")) made->condition = expressions_.expression();
    if (stream_.at_name("recursive"))
      stream_.fail("recursive loops are not supported", ErrorCode::unsupported);
    expect(TokenKind::block_end);
    ++loops_;
    made->body = body({"else", "endfor"});
    --loops_;
    if (stream_.peek(1).text == "else") {
      stream_.take();
      stream_.take();
      expect(TokenKind::block_end);
      made->otherwise = body({"endfor"});
    }
    close("endfor");
    return made;
  }

  StatementPtr assign() {
    auto made = node(Kind::assign);
    made->target = expressions_.target(true);
    if (stream_.take_op("=")) {
      made->expression = expressions_.tuple(true);
      expect(TokenKind::block_end);
      return made;
    }
    made->kind = Kind::assign_block;
    made->expression = expressions_.filter_chain(false);
    made->body = separate_body("endset");
    return made;
  }

  // A body from which break and continue do not reach a loop outside.
  Block separate_body(std::string_view end) {
    const int loops = std::exchange(loops_, 0);
    Block block = body_to(end);
    loops_ = loops;
    return block;
  }

  std::vector<Parameter> parameters() {
    std::vector<Parameter> list;
    stream_.expect_op("(");
    while (!stream_.failed() && !stream_.at(TokenKind::op, ")")) {
      Parameter parameter;
      parameter.name = stream_.expect_name();
      if (stream_.take_op("=")) parameter.fallback = expressions_.expression();
      list.push_back(std::move(parameter));
      if (!stream_.take_op(",")) break;
    }
    stream_.expect_op(")");
    return list;
  }

  StatementPtr macro() {
    auto made = node(Kind::macro);
    made->text = stream_.expect_name();
    made->parameters = parameters();
    expressions_.forget_rest();
    made->body = separate_body("endmacro");
    made->takes_rest = expressions_.saw_rest();
    return made;
  }

  StatementPtr call_block() {
    auto made = node(Kind::call_block);
    if (stream_.at(TokenKind::op, "(")) made->parameters = parameters();
    made->expression = expressions_.expression();
    if (made->expression->kind != Expression::Kind::call) stream_.fail("a call block needs a call");
    made->body = separate_body("endcall");
    return made;
  }

  StatementPtr filter_block() {
    auto made = node(Kind::filter_block);
    made->expression = expressions_.filter_chain(true);
    made->body = separate_body("endfilter");
    return made;
  }

  StatementPtr with() {
    auto made = node(Kind::with);
    while (!stream_.failed() && !stream_.at(TokenKind::block_end)) {
      if (!made->assignments.empty()) stream_.expect_op(",");
      ExpressionPtr target = expressions_.target(false);
      stream_.expect_op("=");
      made->assignments.emplace_back(std::move(target), expressions_.expression());
    }
    made->body = body_to("endwith");
    return made;
  }

  StatementPtr scope(std::string_view end) {
    auto made = node(Kind::scope);
    made->body = body_to(end);
    return made;
  }

  TokenStream stream_;
  ExpressionParser expressions_;
  int depth_ = 0;
  int loops_ = 0;
};

}  // namespace

Result<Block> parse_template(std::string_view source) {
  Result<std::vector<Token>> tokens = tokenize(source);
  if (!tokens) return tokens.error();
  return TemplateParser(std::move(*tokens)).run();
}

}  // namespace baton::text::jinja
