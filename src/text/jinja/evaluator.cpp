// The statements of a render; expressions are in evaluate.cpp.
#include "text/jinja/evaluator.hpp"

#include <algorithm>

namespace baton::text::jinja {
namespace {

constexpr std::size_t kMaxSteps = 10'000'000;
constexpr std::size_t kMaxSpent = std::size_t{512} << 20;
constexpr std::size_t kMaxOutput = std::size_t{64} << 20;
constexpr int kMaxRecursion = 800;

}  // namespace

class Macro final : public Callable {
 public:
  Macro(Evaluator& evaluator, const Statement& statement, Evaluator::Frame* defined_in)
      : evaluator_(&evaluator), statement_(&statement), defined_in_(defined_in) {}
  Value call(Context& /*context*/, const Arguments& arguments) const override {
    Arguments own = arguments;
    const auto named = std::find_if(own.named.begin(), own.named.end(),
                                    [](const auto& pair) { return pair.first == "caller"; });
    if (named == own.named.end()) return evaluator_->call_macro(*statement_, defined_in_, nullptr, own);
    const Value caller = named->second;
    own.named.erase(named);
    return evaluator_->call_macro(*statement_, defined_in_, &caller, own);
  }
  std::string name() const override { return "Macro '" + statement_->text + "'"; }
  Value attribute(std::string_view attribute_name) const override {
    return attribute_name == "name" ? Value(statement_->text) : Value();
  }

 private:
  Evaluator* evaluator_;
  const Statement* statement_;
  Evaluator::Frame* defined_in_;
};

Evaluator::Step::Step(Evaluator& evaluator) : evaluator_(evaluator) {
  const bool too_deep = ++evaluator_.depth_ > kMaxRecursion;
  if ((++evaluator_.steps_ > kMaxSteps || too_deep) && !evaluator_.failed()) {
    evaluator_.error_ =
        make_error(ErrorCode::too_large,
                   std::string("chat template: ") + (too_deep ? "recursion too deep" : "it takes too long"));
  }
}

Value Evaluator::fail(std::string message) {
  return raise("chat template, line " + std::to_string(line_) + ": " + std::move(message));
}

Value Evaluator::raise(std::string message) {
  if (!error_) error_ = make_error(ErrorCode::invalid_argument, std::move(message));
  return {};
}

bool Evaluator::charge(std::size_t bytes) {
  spent_ = std::min(spent_ + bytes, std::size_t{1} << 50);
  if (spent_ > kMaxSpent && !error_)
    error_ = make_error(ErrorCode::too_large, "chat template: it makes too much text");
  return !failed();
}

Result<std::string> Evaluator::render(const Block& block) {
  frame_ = push_frame(nullptr);
  run(block);
  if (error_) return *error_;
  return std::move(out_);
}

Evaluator::Frame* Evaluator::push_frame(Frame* parent) {
  charge(sizeof(Frame));
  frames_.push_back(std::make_unique<Frame>());
  frames_.back()->parent = parent;
  return frames_.back().get();
}

void Evaluator::set(std::string_view name, Value value) {
  for (auto& [existing, old] : frame_->variables) {
    if (existing != name) continue;
    old = std::move(value);
    return;
  }
  frame_->variables.emplace_back(name, std::move(value));
}

Value Evaluator::look_up(const std::string& name) const {
  for (const Frame* frame = frame_; frame != nullptr; frame = frame->parent) {
    for (const auto& [existing, value] : frame->variables) {
      if (existing == name) return value;
    }
  }
  if (const Value* value = variables_.find_name(name)) return *value;
  if (const Value* value = globals_.find_name(name)) return *value;
  Value function = find_function(name);
  return function.is_undefined() ? make_undefined("'" + name + "' is undefined") : function;
}

Evaluator::Flow Evaluator::run(const Block& block) {
  for (const auto& statement : block) {
    const Flow flow = run(*statement);
    if (failed()) return Flow::broken;
    if (flow != Flow::normal) return flow;
  }
  return Flow::normal;
}

Evaluator::Flow Evaluator::run(const Statement& statement) {
  const Step step(*this);
  if (failed()) return Flow::broken;
  line_ = statement.line;
  switch (statement.kind) {
    case Statement::Kind::text:
      if (charge(statement.text.size())) out_ += statement.text;
      break;
    case Statement::Kind::output:
      write(evaluate(*statement.expression));
      break;
    case Statement::Kind::if_else:
      return run_if(statement);
    case Statement::Kind::for_loop:
      run_for(statement);
      break;
    case Statement::Kind::assign:
      assign(*statement.target, evaluate(*statement.expression));
      break;
    case Statement::Kind::assign_block:
      run_assign_block(statement);
      break;
    case Statement::Kind::macro:
      set(statement.text, std::shared_ptr<const Callable>(std::make_shared<Macro>(*this, statement, frame_)));
      break;
    case Statement::Kind::call_block:
      run_call_block(statement);
      break;
    case Statement::Kind::filter_block: {
      const Value body(capture(statement.body, frame_));
      write(evaluate_filter(*statement.expression, &body));
      break;
    }
    case Statement::Kind::with:
      run_with(statement);
      break;
    case Statement::Kind::scope: {
      Frame* const outer = frame_;
      frame_ = push_frame(outer);
      const Flow flow = run(statement.body);
      frame_ = outer;
      return flow;
    }
    case Statement::Kind::break_loop:
      return Flow::broken;
    case Statement::Kind::continue_loop:
      return Flow::continued;
  }
  return Flow::normal;
}

Evaluator::Flow Evaluator::run_if(const Statement& statement) {
  for (const auto& [condition, block] : statement.branches) {
    if (condition == nullptr || evaluate(*condition).truthy()) return failed() ? Flow::broken : run(block);
  }
  return Flow::normal;
}

void Evaluator::run_for(const Statement& statement) {
  std::vector<Value> items = iterate(*this, evaluate(*statement.expression));
  Frame* const outer = frame_;
  if (statement.condition != nullptr) {
    frame_ = push_frame(outer);
    std::vector<Value> kept;
    for (Value& item : items) {
      assign(*statement.target, item);
      if (evaluate(*statement.condition).truthy()) kept.push_back(std::move(item));
      if (failed()) break;
    }
    items = std::move(kept);
    frame_ = outer;
  }
  if (failed()) return;
  if (items.empty()) {
    frame_ = push_frame(outer);
    run(statement.otherwise);
    frame_ = outer;
    return;
  }
  std::size_t depth = 0;
  for (const Value& item : items) depth = std::max(depth, item.depth());
  const auto shared = std::make_shared<const std::vector<Value>>(std::move(items));
  frame_ = push_frame(outer);
  for (std::size_t i = 0; i < shared->size() && !failed(); ++i) {
    frame_->variables.clear();
    set("loop", std::make_shared<const Loop>(Loop{shared, i, depth}));
    assign(*statement.target, (*shared)[i]);
    if (run(statement.body) == Flow::broken) break;
  }
  frame_ = outer;
}

void Evaluator::run_assign_block(const Statement& statement) {
  Value body(capture(statement.body, frame_));
  if (statement.expression != nullptr) body = evaluate_filter(*statement.expression, &body);
  assign(*statement.target, body);
}

void Evaluator::run_call_block(const Statement& statement) {
  const Value caller(std::shared_ptr<const Callable>(std::make_shared<Macro>(*this, statement, frame_)));
  write(evaluate_call(*statement.expression, &caller));
}

void Evaluator::run_with(const Statement& statement) {
  std::vector<Value> values;
  for (const auto& [target, expression] : statement.assignments) values.push_back(evaluate(*expression));
  Frame* const outer = frame_;
  frame_ = push_frame(outer);
  for (std::size_t i = 0; i < values.size(); ++i) assign(*statement.assignments[i].first, values[i]);
  run(statement.body);
  frame_ = outer;
}

std::string Evaluator::capture(const Block& block, Frame* parent) {
  std::string before = std::exchange(out_, {});
  Frame* const outer = frame_;
  frame_ = push_frame(parent);
  run(block);
  frame_ = outer;
  return std::exchange(out_, std::move(before));
}

Value Evaluator::call_macro(const Statement& macro, Frame* defined_in, const Value* caller,
                            const Arguments& arguments) {
  const Step step(*this);
  if (failed()) return {};
  Frame* const outer = frame_;
  frame_ = push_frame(defined_in);
  for (std::size_t i = 0; i < macro.parameters.size() && !failed(); ++i) {
    const Parameter& parameter = macro.parameters[i];
    const Value* given = arguments.find(i, parameter.name);
    if (given != nullptr) {
      set(parameter.name, *given);
    } else if (parameter.fallback != nullptr) {
      set(parameter.name, evaluate(*parameter.fallback));
    } else {
      set(parameter.name, make_undefined("parameter '" + parameter.name + "' was not provided"));
    }
  }
  if (caller != nullptr) set("caller", *caller);
  bind_rest(macro, arguments);
  std::string text;
  if (!failed()) text = capture(macro.body, frame_);
  frame_ = outer;
  return text;
}

// What no parameter takes goes to varargs and kwargs where the macro uses them; else it is an error.
void Evaluator::bind_rest(const Statement& macro, const Arguments& arguments) {
  std::vector<Value> rest;
  for (std::size_t i = macro.parameters.size(); i < arguments.positional.size(); ++i)
    rest.push_back(arguments.positional[i]);
  Dict named;
  for (const auto& [name, value] : arguments.named) {
    const auto same = [&, &wanted = name](const Parameter& parameter) { return parameter.name == wanted; };
    if (std::none_of(macro.parameters.begin(), macro.parameters.end(), same)) named.set(name, value);
  }
  if (macro.takes_rest) {
    set("varargs", checked(make_tuple(std::move(rest))));
    set("kwargs", checked(std::move(named)));
  } else if (!rest.empty()) {
    fail("macro '" + macro.text + "' takes not more than " + std::to_string(macro.parameters.size()) +
         " arguments");
  } else if (!named.entries().empty()) {
    fail("macro '" + macro.text + "' takes no keyword argument " + repr(named.entries().front().first));
  }
}

void Evaluator::write(const Value& value) {
  if (!charge(value.weight())) return;
  out_ += to_text(value);
  if (out_.size() > kMaxOutput && !failed())
    error_ = make_error(ErrorCode::too_large, "chat template: it makes too much text");
}

void Evaluator::assign(const Expression& target, const Value& value) {
  if (failed()) return;
  switch (target.kind) {
    case Kind::name:
      return set(target.text, value);
    case Kind::tuple:
      return unpack(target, value);
    default: {
      const Value object = evaluate(*target.children[0]);
      Namespace* space = object.as_namespace();
      if (space == nullptr) {
        fail("cannot assign attribute on non-namespace object");
      } else if (value.depth() > kMaxDepth) {
        fail("'" + target.text + "' is nested too deep, or is a namespace");
      } else {
        space->attributes.set(target.text, value);
      }
    }
  }
}

void Evaluator::unpack(const Expression& target, const Value& value) {
  const std::vector<Value> items = iterate(*this, value);
  if (failed()) return;
  if (items.size() != target.children.size()) {
    fail("cannot unpack " + std::to_string(items.size()) + " values into " +
         std::to_string(target.children.size()));
    return;
  }
  for (std::size_t i = 0; i < items.size(); ++i) assign(*target.children[i], items[i]);
}

}  // namespace baton::text::jinja
