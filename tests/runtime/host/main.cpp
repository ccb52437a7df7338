// Runs a baked model in plain C++: all it takes is core.add_extension.
//
//     host EXTENSION.so MODEL.xml INPUTS OUTPUT
//
// INPUTS: for each of the model's inputs in turn, uint32 rank, so many uint32 dimensions, then its numbers, all raw and
// of the input's own type. OUTPUT: the first output's float32 numbers, raw.

#include <cstdint>
#include <fstream>
#include <iostream>

#include <openvino/openvino.hpp>

namespace {

uint32_t read_u32(std::ifstream& file) {
    uint32_t number = 0;
    if (!file.read(reinterpret_cast<char*>(&number), sizeof number))
        throw std::runtime_error("the inputs end too early");
    return number;
}

ov::Tensor read_tensor(std::ifstream& file, const ov::element::Type& type) {
    ov::Shape shape(read_u32(file));
    for (size_t& size : shape)
        size = read_u32(file);
    ov::Tensor tensor(type, shape);
    if (!file.read(static_cast<char*>(tensor.data()), std::streamsize(tensor.get_byte_size())))
        throw std::runtime_error("the inputs end too early");
    return tensor;
}

void run(const std::string& extension, const std::string& model, const std::string& inputs, const std::string& output) {
    ov::Core core;
    core.add_extension(extension);
    ov::CompiledModel compiled = core.compile_model(model, "CPU", ov::hint::inference_precision(ov::element::f32));
    ov::InferRequest request = compiled.create_infer_request();
    std::ifstream in(inputs, std::ios::binary);
    for (const auto& port : compiled.inputs())
        request.set_tensor(port, read_tensor(in, port.get_element_type()));
    request.infer();
    const ov::Tensor result = request.get_output_tensor(0);
    std::ofstream out(output, std::ios::binary);
    out.write(reinterpret_cast<const char*>(result.data<float>()), std::streamsize(result.get_byte_size()));
    std::cout << result.get_shape() << std::endl;
}

}  // namespace

int main(int count, char** arguments) {
    if (count != 5) {
        std::cerr << "usage: host EXTENSION.so MODEL.xml INPUTS OUTPUT" << std::endl;
        return 2;
    }
    try {
        run(arguments[1], arguments[2], arguments[3], arguments[4]);
    } catch (const std::exception& error) {
        std::cerr << error.what() << std::endl;
        return 1;
    }
    return 0;
}
