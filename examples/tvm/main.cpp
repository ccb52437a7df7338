// Runs a model that `optkit compile` made: run_tvm FOLDER ID ID ...
//
// Prints the outputs for one text, whose tokens have these ids and which is padded to the model's length.
#include <tvm/ffi/container/array.h>
#include <tvm/ffi/container/map.h>
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/extra/json.h>
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

namespace ffi = tvm::ffi;
namespace json = tvm::ffi::json;

namespace {

// Memory of tensors, aligned as TVM's vectors want it.
struct Allocator {
    void AllocData(DLTensor* tensor) {
        const size_t size = (ffi::GetDataSize(*tensor) + 63) / 64 * 64;
        tensor->data = std::aligned_alloc(64, size == 0 ? 64 : size);
        if (tensor->data == nullptr)
            throw std::bad_alloc();
    }
    void FreeData(DLTensor* tensor) { std::free(tensor->data); }
};

ffi::Tensor new_tensor(const std::vector<int64_t>& shape, DLDataType type) {
    return ffi::Tensor::FromNDAlloc(Allocator(), ffi::ShapeView(shape.data(), shape.size()), type, DLDevice{kDLCPU, 0});
}

std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file)
        throw std::runtime_error(path + ": cannot be read");
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

json::Object parse(const std::string& text) { return json::Parse(text).cast<json::Object>(); }

DLDataType type_of(const std::string& name) {
    if (name == "F32")
        return {kDLFloat, 32, 1};
    if (name == "I32")
        return {kDLInt, 32, 1};
    if (name == "I64")
        return {kDLInt, 64, 1};
    if (name == "BOOL")
        return {kDLBool, 8, 1};
    throw std::runtime_error(name + ": no type of a compiled model");
}

// The tensors of a safetensors file: eight bytes of the header's length, the header in JSON, then the numbers.
class Parameters {
public:
    explicit Parameters(const std::string& path) : content_(read_file(path)) {
        uint64_t length = 0;
        if (content_.size() < sizeof length)
            throw std::runtime_error(path + ": damaged");
        std::memcpy(&length, content_.data(), sizeof length);
        if (length > content_.size() - sizeof length)
            throw std::runtime_error(path + ": damaged");
        begin_ = sizeof length + length;
        header_ = parse(content_.substr(sizeof length, length));
    }

    ffi::Tensor operator[](const ffi::String& name) const {
        const auto entry = header_.at(name).cast<json::Object>();
        std::vector<int64_t> shape;
        for (const auto& size : entry.at(ffi::String("shape")).cast<json::Array>())
            shape.push_back(size.cast<int64_t>());
        const auto type = type_of(entry.at(ffi::String("dtype")).cast<ffi::String>());
        const auto offsets = entry.at(ffi::String("data_offsets")).cast<json::Array>();
        const auto first = offsets[0].cast<uint64_t>(), last = offsets[1].cast<uint64_t>();
        ffi::Tensor tensor = new_tensor(shape, type);
        if (first > last || last > content_.size() - begin_ ||
            last - first != ffi::GetDataSize(*tensor.GetDLTensorPtr()))
            throw std::runtime_error(std::string(name) + ": damaged");
        std::memcpy(tensor.data_ptr(), content_.data() + begin_ + first, last - first);
        return tensor;
    }

private:
    std::string content_;
    uint64_t begin_ = 0;
    json::Object header_;
};

void print(const std::string& name, const ffi::Tensor& tensor) {
    std::cout << name << ":";
    const auto* numbers = static_cast<const float*>(tensor.data_ptr());
    for (int64_t i = 0; i < tensor.numel() && i < 8; ++i)
        std::cout << ' ' << numbers[i];
    std::cout << '\n';
}

void run(const std::string& folder, const std::vector<int64_t>& ids) {
    const json::Object index = parse(read_file(folder + "/tvm.json"));
    const auto shape = index.at(ffi::String("shapes")).cast<json::Array>()[0].cast<json::Object>();
    const auto batch = shape.at(ffi::String("batch")).cast<int64_t>(),
               seq = shape.at(ffi::String("seq")).cast<int64_t>();
    if (static_cast<int64_t>(ids.size()) > seq)
        throw std::runtime_error("the text is longer than the model takes");

    // The library holds a program of TVM's virtual machine.
    const std::string library = shape.at(ffi::String("library")).cast<ffi::String>();
    const auto loaded = ffi::Module::LoadFromFile(folder + "/" + library);
    const auto machine = loaded->GetFunction("vm_load_executable").value()().cast<ffi::Module>();
    const int pooled = 2;  // how it allocates
    machine->GetFunction("vm_initialization").value()(static_cast<int>(kDLCPU), 0, pooled);

    std::vector<ffi::Any> arguments;
    for (const auto& name : index.at(ffi::String("inputs")).cast<json::Array>()) {
        ffi::Tensor tensor = new_tensor({batch, seq}, {kDLInt, 64, 1});
        auto* numbers = static_cast<int64_t*>(tensor.data_ptr());
        std::memset(numbers, 0, ffi::GetDataSize(*tensor.GetDLTensorPtr()));
        const std::string input = name.cast<ffi::String>();
        for (size_t i = 0; i < ids.size() && input != "token_type_ids"; ++i)
            numbers[i] = input == "attention_mask" ? 1 : ids[i];
        arguments.emplace_back(tensor);
    }
    const Parameters parameters(folder + "/parameters.safetensors");
    for (const auto& name : shape.at(ffi::String("parameters")).cast<json::Array>())
        arguments.emplace_back(parameters[name.cast<ffi::String>()]);

    std::vector<ffi::AnyView> views(arguments.begin(), arguments.end());
    ffi::Any result;
    machine->GetFunction("main").value().CallPacked(views.data(), static_cast<int32_t>(views.size()), &result);
    const auto names = index.at(ffi::String("outputs")).cast<json::Array>();
    if (auto tensor = result.as<ffi::Tensor>()) {
        print(names[0].cast<ffi::String>(), *tensor);
        return;
    }
    const auto outputs = result.cast<ffi::Array<ffi::Tensor>>();
    for (size_t i = 0; i < outputs.size(); ++i)
        print(names[i].cast<ffi::String>(), outputs[i]);
}

}  // namespace

int main(int count, char** words) {
    if (count < 3) {
        std::cerr << "usage: run_tvm FOLDER ID ID ...\n";
        return 2;
    }
    try {
        std::vector<int64_t> ids;
        for (int i = 2; i < count; ++i)
            ids.push_back(std::stoll(words[i]));
        run(words[1], ids);
    } catch (const std::exception& error) {
        std::cerr << "error: " << error.what() << '\n';
        return 1;
    }
    return 0;
}
