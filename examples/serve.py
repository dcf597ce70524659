"""Answer a prompt with the patches that are deployed for the lab's model: `python examples/serve.py "a prompt"`."""

import sys

import ppm

model, tokenizer = ppm.load("lab")
inputs = tokenizer(sys.argv[1], return_tensors="pt")
made = model.generate(**inputs, max_new_tokens=20, do_sample=False)
print(tokenizer.decode(made[0, inputs.input_ids.shape[1] :], skip_special_tokens=True))
