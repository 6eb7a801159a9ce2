// Tables of deployments: columns in any order, defaults, the ways that wide deployments are written, errors.
#include "baton/plan/rows.hpp"

#include <sstream>

#include "support/catch.hpp"

using namespace baton;

namespace {

Result<std::vector<DeploymentRow>> read(const std::string& text) {
  std::istringstream in(text);
  return read_rows(in, "x.csv");
}

}  // namespace

TEST_CASE("a row's cells, by the header's names") {
  const auto rows = read(
      "isl,system,unknown,backend,model_path,mode,osl,batch_size,tp_size,precision,gemm_quant_mode\n"
      "4000,h200_sxm,7,vllm,\"a,b\",agg,500,64,2,fp8,\r\n\n"
      "1,b,,c,d,disagg,2,,,,nvfp4\n");
  REQUIRE(rows);
  REQUIRE(rows->size() == 2);
  const DeploymentRow& first = rows->front();
  CHECK(first.model == "a,b");
  CHECK(first.load.input == 4000);
  CHECK(first.load.output == 500);
  CHECK(first.batch == 64);
  CHECK(first.split.tensor == 2);
  CHECK(first.precision == Precision::fp8);
  CHECK_FALSE(first.disaggregated);
  CHECK((*rows)[1].disaggregated);
  CHECK((*rows)[1].precision == Precision::fp4);  // inferred
  CHECK((*rows)[1].batch == 1);
}

TEST_CASE("a precision that is not given follows from the quantisation, the experts' first") {
  const std::string head = "backend,model_path,system,isl,osl,gemm_quant_mode,moe_quant_mode\n";
  const auto of = [&](const std::string& modes) {
    return read(head + "a,b,c,1,1," + modes + "\n").value().front().precision;
  };
  CHECK(of(",") == Precision::bf16);
  CHECK(of("fp8_block,") == Precision::fp8);
  CHECK(of("fp8,w4a16_mxfp4") == Precision::fp4);
  CHECK(of("int4_wo,int4_wo") == Precision::int4);
  CHECK(of("bfloat16,bfloat16") == Precision::bf16);
}

TEST_CASE("what is wrong is named with its line and column") {
  const auto field = [](const std::string& text) {
    const auto rows = read(text);
    REQUIRE_FALSE(rows);
    CHECK(rows.error().message.starts_with("x.csv"));
    return rows.error().field;
  };
  const std::string head = "backend,model_path,system,isl,osl,batch_size,precision,mode\n";
  CHECK(field("") == "--rows");
  CHECK(field(head + "a,b,c,x,1,1,,\n") == "isl");
  CHECK(field(head + "a,b,c,,1,1,,\n") == "isl");
  CHECK(field(head + "a,b,c,1,1,-3,,\n") == "batch_size");
  CHECK(field(head + "a,,c,1,1,1,,\n") == "model_path");
  CHECK(field(head + "a,b,c,1,1,1,fp3,\n") == "precision");
  CHECK(field(head + "a,b,c,1,1,1,,both\n") == "mode");
  CHECK(field(head + "a,b,c,1e99,1,1,,\n") == "isl");
}

TEST_CASE("one deployment, however it is written") {
  CHECK(split_of({}, false) == Split{});
  CHECK(split_of({4, 1, 1, 4, 1}, false) == Split{.tensor = 4});
  CHECK(split_of({8, 1, 1, 1, 8}, true) == Split{.tensor = 8});
  CHECK(split_of({8, 1, 1, 8, 1}, true) == Split{.tensor = 8, .expert_tensor = 8});
  CHECK(split_of({8, 1, 1, 8, 8}, true) == Split{.tensor = 8});  // both as wide as the whole
  CHECK(split_of({1, 1, 64, 8, 8}, true) == Split{.data = 8});   // data x 8 counted twice
  CHECK(split_of({4, 1, 4, 1, 16}, true) == Split{.data = 4});   // attention's groups counted twice
  CHECK(split_of({1, 1, 8, 1, 8}, true) == Split{.data = 8});
}
