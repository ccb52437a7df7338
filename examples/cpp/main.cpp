// From texts to labels without Python: the tokenizer's IR, a text classifier's IR, portable or baked, and OpenVINO.
//
//     classify FOLDER LIBRARY... < texts.txt
//
// FOLDER: holds openvino_tokenizer.xml, openvino_model.xml and config.json, as an export with `export.tokenizer: true`
// and `optkit bake` write them. LIBRARY: the extensions that they need, libopenvino_tokenizers.so and, for a baked IR,
// liboptkit_openvino.so. Each line of the input is a text; for each comes a line: label, tab, probability, tab, text.

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <regex>
#include <stdexcept>
#include <string>
#include <vector>

#include <openvino/openvino.hpp>

namespace {

// Texts that are computed together. They are padded to the longest of them.
constexpr size_t kBatch = 16;

struct Answer {
    std::string label;
    double probability;
};

// Names of the outputs: id2label of config.json. A program of one's own would read it with its JSON library.
std::vector<std::string> read_labels(const std::string& file) {
    std::ifstream in(file);
    if (!in)
        throw std::runtime_error(file + ": cannot be read");
    const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    std::smatch table;
    if (!std::regex_search(text, table, std::regex("\"id2label\"\\s*:\\s*\\{([^}]*)\\}")))
        return {};
    const std::string entries = table[1];
    const std::regex entry("\"(\\d+)\"\\s*:\\s*\"([^\"]*)\"");
    std::map<size_t, std::string> by_index;
    for (std::sregex_iterator each(entries.begin(), entries.end(), entry), end; each != end; ++each)
        by_index[std::stoul((*each)[1])] = (*each)[2];
    std::vector<std::string> labels;
    for (const auto& named : by_index)
        labels.push_back(named.second);
    return labels;
}

class Classifier {
public:
    Classifier(const std::string& folder, const std::vector<std::string>& libraries)
        : labels(read_labels(folder + "/config.json")) {
        ov::Core core;
        for (const std::string& library : libraries)
            core.add_extension(library);
        tokenizer = core.compile_model(folder + "/openvino_tokenizer.xml", "CPU").create_infer_request();
        model = core.compile_model(folder + "/openvino_model.xml", "CPU").create_infer_request();
    }

    // The most probable label of each text.
    std::vector<Answer> classify(const std::vector<std::string>& texts) {
        ov::Tensor strings(ov::element::string, {texts.size()});
        std::copy(texts.begin(), texts.end(), strings.data<std::string>());
        tokenizer.set_input_tensor(strings);
        tokenizer.infer();
        for (const auto& input : model.get_compiled_model().inputs())
            model.set_tensor(input, tokenizer.get_tensor(input.get_any_name()));
        model.infer();
        const ov::Tensor logits = model.get_output_tensor(0);  // float32 (texts, classes)
        const size_t classes = logits.get_shape().at(1);
        if (!labels.empty() && labels.size() != classes)
            throw std::runtime_error("config.json does not name the outputs of this model");
        std::vector<Answer> answers;
        for (size_t row = 0; row < texts.size(); ++row)
            answers.push_back(best(logits.data<const float>() + row * classes, classes));
        return answers;
    }

private:
    Answer best(const float* logits, size_t classes) const {
        const size_t index = size_t(std::max_element(logits, logits + classes) - logits);
        double sum = 0;
        for (size_t i = 0; i < classes; ++i)
            sum += std::exp(double(logits[i]) - double(logits[index]));
        return {labels.empty() ? "LABEL_" + std::to_string(index) : labels[index], 1 / sum};
    }

    std::vector<std::string> labels;
    ov::InferRequest tokenizer, model;
};

void run(const std::string& folder, const std::vector<std::string>& libraries) {
    Classifier classifier(folder, libraries);
    std::vector<std::string> texts;
    const auto tell = [&] {
        const std::vector<Answer> answers = texts.empty() ? std::vector<Answer>{} : classifier.classify(texts);
        for (size_t i = 0; i < texts.size(); ++i)
            std::cout << answers[i].label << '\t' << answers[i].probability << '\t' << texts[i] << '\n';
        texts.clear();
    };
    for (std::string line; std::getline(std::cin, line);) {
        texts.push_back(line);
        if (texts.size() == kBatch)
            tell();
    }
    tell();
}

}  // namespace

int main(int count, char** arguments) {
    if (count < 3) {
        std::cerr << "usage: classify FOLDER LIBRARY... < texts.txt" << std::endl;
        return 2;
    }
    try {
        run(arguments[1], {arguments + 2, arguments + count});
    } catch (const std::exception& error) {
        std::cerr << error.what() << std::endl;
        return 1;
    }
    return 0;
}
