// From statements to instructions: names become rows, numbers become constants, opcodes become functions.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <stdexcept>

#include "machine.hpp"

namespace baton::emulator {

Opcode::Opcode(const std::string& text) {
  std::size_t at = 0;
  while (at <= text.size()) {
    const std::size_t dot = std::min(text.find('.', at), text.size());
    parts.push_back(text.substr(at, dot - at));
    at = dot + 1;
  }
}

bool Opcode::has(std::string_view part) const {
  return std::find(parts.begin(), parts.end(), part) != parts.end();
}

std::size_t type_bytes(const std::string& type) {
  if (type.ends_with("64")) return 8;
  if (type.ends_with("32")) return 4;
  if (type.ends_with("16")) return 2;
  if (type.ends_with("8")) return 1;
  throw std::runtime_error("a type named " + type);
}

bool type_signed(const std::string& type) { return type.starts_with("s"); }

namespace {

const std::map<std::string, Special>& special_names() {
  static const std::map<std::string, Special> names{{"%tid.x", Special::tid_x},
                                                    {"%tid.y", Special::tid_y},
                                                    {"%tid.z", Special::tid_z},
                                                    {"%ntid.x", Special::ntid_x},
                                                    {"%ntid.y", Special::ntid_y},
                                                    {"%ntid.z", Special::ntid_z},
                                                    {"%ctaid.x", Special::ctaid_x},
                                                    {"%ctaid.y", Special::ctaid_y},
                                                    {"%ctaid.z", Special::ctaid_z},
                                                    {"%nctaid.x", Special::nctaid_x},
                                                    {"%nctaid.y", Special::nctaid_y},
                                                    {"%nctaid.z", Special::nctaid_z},
                                                    {"%laneid", Special::lane},
                                                    {"%warpid", Special::warp},
                                                    {"%cluster_ctarank", Special::cluster_rank},
                                                    {"%cluster_nctarank", Special::cluster_size}};
  return names;
}

std::size_t aligned(std::size_t at, std::size_t align) { return (at + align - 1) / align * align; }

class Decoder {
 public:
  Decoder(const ptx::Module& module, const ptx::Function& kernel) : module_(module) {
    program_.name = kernel.name;
    for (const ptx::Variable& parameter : kernel.parameters) {
      program_.parameter_bytes = aligned(program_.parameter_bytes, parameter.align);
      program_.parameters.push_back({program_.parameter_bytes, parameter.bytes});
      program_.parameter_bytes += parameter.bytes;
    }
    functions_.push_back(&kernel);
    for (std::size_t i = 0; i < functions_.size(); ++i)
      add(*functions_[i]);  // grows by those that are called
    resolve();
  }

  Program take() { return std::move(program_); }

 private:
  struct Jump {
    std::size_t instruction;
    const ptx::Function* function;
    int statement;
  };

  void add(const ptx::Function& function) {
    function_ = &function;
    starts_[&function] = static_cast<int>(program_.instructions.size());
    for (const ptx::Statement& statement : function.statements) {
      program_.instructions.push_back(instruction(statement));
    }
    Instruction end;  // where the text ends without ret
    end.flow = Flow::leave;
    end.text = "(end)";
    program_.instructions.push_back(end);
  }

  void resolve() {
    for (const Jump& jump : jumps_)
      program_.instructions[jump.instruction].target = starts_.at(jump.function) + jump.statement;
    const std::size_t dynamic = aligned(program_.shared_bytes, 128);
    if (!dynamic_.empty()) program_.shared_bytes = dynamic;
    for (const Operand& row : dynamic_) fill(row.at, row.width, kSharedStart + dynamic);
  }

  Operand new_row(std::uint8_t width) {
    Operand made;
    made.at = static_cast<std::uint32_t>(program_.register_bytes);
    made.width = width;
    program_.register_bytes += std::size_t{width} * kLanes;
    return made;
  }

  Operand register_row(const ptx::Function& function, const std::string& name) {
    const auto key = std::pair{&function, name};
    if (const auto found = rows_.find(key); found != rows_.end()) return found->second;
    return rows_[key] = new_row(static_cast<std::uint8_t>(function.widths.at(name)));
  }

  Operand special_row(Special what, std::uint64_t offset, std::uint8_t width) {
    for (const SpecialRow& known : program_.specials) {
      if (known.what == what && known.offset == offset && known.row.width == width) return known.row;
    }
    program_.specials.push_back({what, offset, new_row(width)});
    return program_.specials.back().row;
  }

  void fill(std::uint32_t at, std::uint8_t width, std::uint64_t bits) {
    for (int lane = 0; lane < kLanes; ++lane)
      std::memcpy(program_.constants.data() + at + lane * width, &bits, width);
  }

  Operand constant(std::uint64_t bits, std::uint8_t width, bool fresh = false) {
    const auto key = std::pair{bits, width};
    if (const auto found = constants_.find(key); !fresh && found != constants_.end()) return found->second;
    Operand made;
    made.constant = true;
    made.width = width;
    made.at = static_cast<std::uint32_t>(aligned(program_.constants.size(), 8));
    program_.constants.resize(made.at + std::size_t{width} * kLanes);
    fill(made.at, width, bits);
    if (!fresh) constants_[key] = made;
    return made;
  }

  // The address of a variable, in lanes of 8 bytes or, of shared memory, of 4.
  Operand variable(const ptx::Variable& variable, std::uint8_t width) {
    switch (variable.space) {
      case ptx::Space::shared: {
        if (variable.bytes == 0) {
          dynamic_.push_back(constant(0, width, true));
          return dynamic_.back();
        }
        auto [found, fresh] = shared_.try_emplace(&variable, 0);
        if (fresh) {
          found->second = aligned(program_.shared_bytes, variable.align);
          program_.shared_bytes = found->second + variable.bytes;
        }
        return constant(kSharedStart + found->second, width);
      }
      case ptx::Space::local: {
        auto [found, fresh] = local_.try_emplace(&variable, 0);
        if (fresh) {
          found->second = aligned(program_.local_bytes, variable.align);
          program_.local_bytes = aligned(found->second + variable.bytes, 16);
        }
        return special_row(Special::local, found->second, width);
      }
      default: {
        auto& held = statics()[&variable];
        if (held.empty()) {
          held.resize((std::max(variable.bytes, variable.initial.size()) + 16) / 8 + 2);
          std::memcpy(held.data(), variable.initial.data(), variable.initial.size());
        }
        return constant(reinterpret_cast<std::uint64_t>(held.data()), width);
      }
    }
  }

  // Lives as long as programs do: to the end.
  static std::map<const ptx::Variable*, std::vector<std::uint64_t>>& statics() {
    static auto* all = new std::map<const ptx::Variable*, std::vector<std::uint64_t>>;
    return *all;
  }

  Operand named(const std::string& name, std::uint8_t width) {
    if (function_->widths.contains(name)) return register_row(*function_, name);
    if (const auto found = special_names().find(name); found != special_names().end())
      return special_row(found->second, 0, 4);
    for (std::size_t i = 0; i < function_->parameters.size(); ++i) {
      if (function_->parameters[i].name != name) continue;
      if (function_->entry) return special_row(Special::param, program_.parameters[i].offset, 8);
      return parameter_row(*function_, i);
    }
    for (const auto* variables : {&function_->variables, &module_.variables}) {
      for (const ptx::Variable& candidate : *variables) {
        if (candidate.name == name) return variable(candidate, width);
      }
    }
    throw std::runtime_error("PTX: nothing is called " + name);
  }

  Operand parameter_row(const ptx::Function& function, std::size_t index) {
    const auto key = std::pair{&function, "parameter " + std::to_string(index)};
    if (const auto found = rows_.find(key); found != rows_.end()) return found->second;
    return rows_[key] = new_row(8);
  }

  Operand operand(const ptx::Argument& argument, std::uint8_t width) {
    using Kind = ptx::Argument::Kind;
    switch (argument.kind) {
      case Kind::name: {
        Operand made = named(argument.name, width);
        made.inverted = argument.inverted;
        return made;
      }
      case Kind::integer:
      case Kind::real32:
      case Kind::real64:
        return constant(argument.bits, width);
      case Kind::sink:
        return {};
      default:
        throw std::runtime_error("PTX: an operand of an unexpected kind");
    }
  }

  // The destination of ld.param, or what st.param stores, where a call's parameters are meant and no memory.
  bool is_call_parameter(const ptx::Statement& statement) const {
    if (statement.arguments.size() != 2 || statement.opcode.find(".param") == std::string::npos) return false;
    const auto& memory = statement.arguments[statement.opcode.starts_with("st") ? 0 : 1];
    if (memory.kind != ptx::Argument::Kind::memory) return false;
    const std::string& name = memory.elements[0].name;
    return function_->widths.contains(name) ? name.find("param") == 0 || name.find("retval") == 0
                                            : !function_->entry;
  }

  Instruction move(const Operand& to, const Operand& from) {
    static const Choice copies = choose_selection(Opcode("mov.b64"));
    Instruction made;
    made.run = copies.run;
    made.to = to;
    made.from[0] = from;
    return made;
  }

  Instruction instruction(const ptx::Statement& statement) {
    const Opcode opcode(statement.opcode);
    Instruction made;
    made.text = text_of(statement);
    try {
      if (is_call_parameter(statement)) {
        const bool store = opcode.name() == "st";
        const ptx::Argument& memory = statement.arguments[store ? 0 : 1];
        const ptx::Argument& value = statement.arguments[store ? 1 : 0];
        const Operand row = named(memory.elements[0].name, 8);
        const std::string text = std::move(made.text);
        made = store ? move(row, operand(value, 8)) : move(operand(value, 8), row);
        made.text = text;
      } else if (opcode.name() == "bra") {
        made.flow = Flow::branch;
        const int label = function_->find_label(statement.scope, statement.arguments[0].name);
        if (label < 0) throw std::runtime_error("PTX: no label " + statement.arguments[0].name);
        jumps_.push_back({program_.instructions.size(), function_, label});
      } else if (opcode.name() == "mov" && statement.arguments.back().name.starts_with("%clock")) {
        made.run = read_clock;
        made.to = operand(statement.arguments[0], 8);
      } else if (opcode.name() == "mov" && statement.arguments.back().name == "%globaltimer") {
        made.run = read_timer;
        made.to = operand(statement.arguments[0], 8);
      } else if (opcode.name() == "ret" || opcode.name() == "exit") {
        made.flow = Flow::leave;
      } else if (opcode.name() == "call") {
        call(statement, made);
      } else {
        usual(opcode, statement, made);
      }
      if (!statement.guard.empty()) {
        made.guard = named(statement.guard, 4);
        made.guard.inverted = statement.guard_inverted;
      }
    } catch (const std::exception& error) {
      throw std::runtime_error(std::string(error.what()) + " in: " + made.text);
    }
    return made;
  }

  // call.uni name, (parameters);   The moves to the parameters come before the call itself.
  void call(const ptx::Statement& statement, Instruction& made) {
    const ptx::Function* callee = module_.find(statement.arguments[0].name);
    if (callee == nullptr) throw std::runtime_error("PTX: a call of " + statement.arguments[0].name);
    if (std::find(functions_.begin(), functions_.end(), callee) == functions_.end())
      functions_.push_back(callee);
    made.flow = Flow::call;
    made.run = pass_parameters;
    if (statement.arguments.size() > 1) {
      for (std::size_t i = 0; i < statement.arguments[1].elements.size(); ++i) {
        made.list.push_back(parameter_row(*callee, i));
        made.list.push_back(operand(statement.arguments[1].elements[i], 8));
      }
    }
    jumps_.push_back({program_.instructions.size(), callee, 0});
  }

  static bool pass_parameters(Warp& warp, const Instruction& in, std::uint32_t lanes) {
    for (std::size_t i = 0; i + 1 < in.list.size(); i += 2) {
      each(lanes, [&](int lane) { warp.set(in.list[i], lane, warp.value(in.list[i + 1], lane)); });
    }
    return true;
  }

  // Instructions are what time is counted in; a loop that waits for a time ends.
  static bool read_clock(Warp& warp, const Instruction& in, std::uint32_t lanes) {
    each(lanes, [&](int lane) { warp.set(in.to, lane, warp.instructions * 16); });
    return true;
  }

  // The same on all GPUs, for kernels that wait for each other. They are slow here, and so is it.
  static bool read_timer(Warp& warp, const Instruction& in, std::uint32_t lanes) {
    constexpr std::uint64_t kSlowness = 100;
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    const auto nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
    each(lanes,
         [&](int lane) { warp.set(in.to, lane, static_cast<std::uint64_t>(nanoseconds) / kSlowness); });
    return true;
  }

  void usual(const Opcode& opcode, const ptx::Statement& statement, Instruction& made) {
    Choice choice;
    for (const auto choose : {choose_arithmetic, choose_selection, choose_conversion, choose_memory,
                              choose_exchange, choose_meeting, choose_copy, choose_matrix}) {
      choice = choose(opcode);
      if (choice) break;
    }
    if (!choice) throw std::runtime_error("PTX: unknown instruction " + statement.opcode);
    made.run = choice.run;
    made.flow = choice.flow;
    made.space = space_of(opcode);
    std::size_t source = 0;
    bool first = choice.has_result;
    for (std::size_t i = 0; i < statement.arguments.size(); ++i) {
      const ptx::Argument& argument = statement.arguments[i];
      const std::uint8_t width = choice.widths[std::min<std::size_t>(source, 3)];
      if (argument.kind == ptx::Argument::Kind::list) {
        for (const ptx::Argument& element : argument.elements) made.list.push_back(operand(element, 4));
        if (first) first = false;
      } else if (argument.kind == ptx::Argument::Kind::memory) {
        if (source > 3) throw std::runtime_error("PTX: too many operands");
        made.from[source++] = operand(argument.elements[0], 8);
        if (source == 1) made.offset = static_cast<std::int64_t>(argument.bits);
        if (source != 1 && argument.bits != 0)
          throw std::runtime_error("PTX: an offset that is not supported");
        for (std::size_t k = 1; k < argument.elements.size(); ++k) {
          for (const ptx::Argument& element : argument.elements[k].elements)
            made.list.push_back(operand(element, 4));
        }
      } else if (first) {
        made.to = operand(argument, width);
        first = false;
      } else if (i == 1 && choice.has_result && has_second(opcode, statement)) {
        made.second = operand(argument, 4);
      } else {
        if (source > 3) {
          made.list.push_back(operand(argument, 4));
          continue;
        }
        if (argument.kind == ptx::Argument::Kind::integer)
          made.number = static_cast<std::int64_t>(argument.bits);
        made.from[source++] = operand(argument, width);
      }
    }
  }

  static bool has_second(const Opcode& opcode, const ptx::Statement& statement) {
    return opcode.name() == "shfl" && statement.arguments.size() == 6;
  }

  static Space space_of(const Opcode& opcode) {
    for (const std::string& part : opcode.parts) {
      if (part == "global") return Space::global;
      if (part == "shared" || part == "shared::cta") return Space::shared;
      if (part == "shared::cluster") return Space::cluster;
      if (part == "local") return Space::local;
      if (part == "param") return Space::param;
      if (part == "const") return Space::constant;
    }
    return Space::generic;
  }

  static std::string text_of(const ptx::Statement& statement) {
    std::string text =
        statement.guard.empty() ? "" : (statement.guard_inverted ? "@!" : "@") + statement.guard + " ";
    text += statement.opcode;
    for (const ptx::Argument& argument : statement.arguments) text += " " + text_of(argument);
    return text;
  }
  static std::string text_of(const ptx::Argument& argument) {
    using Kind = ptx::Argument::Kind;
    std::string text = argument.inverted ? "!" : "";
    if (argument.kind == Kind::name) return text + argument.name;
    if (argument.kind == Kind::sink) return "_";
    if (argument.kind == Kind::list || argument.kind == Kind::memory) {
      for (const ptx::Argument& element : argument.elements)
        text += (text.empty() ? "" : ",") + text_of(element);
      if (argument.bits != 0) text += "+" + std::to_string(static_cast<std::int64_t>(argument.bits));
      return argument.kind == Kind::list ? "{" + text + "}" : "[" + text + "]";
    }
    return std::to_string(static_cast<std::int64_t>(argument.bits));
  }

  const ptx::Module& module_;
  Program program_;
  std::vector<const ptx::Function*> functions_;
  std::map<const ptx::Function*, int> starts_;
  std::vector<Jump> jumps_;
  const ptx::Function* function_ = nullptr;
  std::map<std::pair<const ptx::Function*, std::string>, Operand> rows_;
  std::map<std::pair<std::uint64_t, std::uint8_t>, Operand> constants_;
  std::map<const ptx::Variable*, std::size_t> shared_, local_;
  std::vector<Operand> dynamic_;  // constants that are the address of dynamic shared memory
};

}  // namespace

Program decode(const ptx::Module& module, const ptx::Function& kernel) {
  return Decoder(module, kernel).take();
}

}  // namespace baton::emulator
