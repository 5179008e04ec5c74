// A build without a Metal toolchain: the shaders are compiled from embedded sources at first use.
#include "devices/metal/embedded_shaders.h"
#include "metal_fixture.h"

namespace metalhead::metal_test {
namespace {

MetalOptions options_without_library() {
  MetalOptions options = test_options();
  options.library_path = "/nonexistent/metalhead.metallib";
  return options;
}

class EmbeddedTest : public MetalTest {
 protected:
  void SetUp() override { device_ = make_metal_device(options_without_library()); }

  /// The text of the error that a launch with the given kernel name ends in.
  std::string refusal(const char* kernel) {
    const Tensor a = make_vector(device(), 64), out = make_vector(device(), 64);
    Launch launch = add_launch(a, a, out);
    launch.kernel = kernel;
    const std::string text = error_text<KernelError>([&] { device().launch(launch); });
    for (const Tensor& tensor : {a, out}) device().release(tensor.buffer);
    return text;
  }

  std::string shaders() {
    for (const auto& [key, value] : device().info()) {
      if (key == "shaders") return value;
    }
    return "";
  }
};

TEST_F(EmbeddedTest, sources_hold_no_project_includes) {
  ASSERT_EQ(metal::embedded_shaders().size(), 2u);
  for (const metal::EmbeddedShader& shader : metal::embedded_shaders()) {
    const std::string source = shader.source;
    EXPECT_EQ(source.find("#include \""), std::string::npos);
    EXPECT_NE(source.find("struct VectorParams"), std::string::npos);
  }
}

TEST_F(EmbeddedTest, kernels_are_compiled_at_first_use) {
  EXPECT_EQ(shaders(),
            "embedded sources, compiled at first use (/nonexistent/metalhead.metallib: the file is missing)");
  expect_working();
  expect_working();
}

TEST_F(EmbeddedTest, every_source_is_asked) {
  const Tensor a = make_vector(device(), 64), out = make_vector(device(), 64);
  fill(a, 1, 1);
  device().launch(repeated_launch(a, out, 3));
  device().wait();
  EXPECT_EQ(out.data_as<float>()[5], 18.0f);
  for (const Tensor& tensor : {a, out}) device().release(tensor.buffer);
}

TEST_F(EmbeddedTest, a_kernel_that_no_source_holds) {
  EXPECT_NE(refusal("no_such_kernel").find("no embedded source holds it"), std::string::npos);
  expect_working();
}

TEST_F(EmbeddedTest, a_source_that_does_not_compile) {
  sim::inject_fault(sim::Fault::kLibrarySource, "program_source:3:1: error: unknown type name");
  EXPECT_NE(refusal("vector_add")
                .find("test_kernels.metal does not compile: program_source:3:1: error: unknown type name"),
            std::string::npos);
  expect_working();
}

TEST_F(EmbeddedTest, a_damaged_library_is_no_obstacle) {
  sim::inject_fault(sim::Fault::kLibraryFile, "damaged");
  device_ = make_metal_device(test_options());
  EXPECT_NE(shaders().find("embedded sources"), std::string::npos);
  EXPECT_NE(shaders().find("damaged"), std::string::npos);
  expect_working();
}

}  // namespace
}  // namespace metalhead::metal_test
