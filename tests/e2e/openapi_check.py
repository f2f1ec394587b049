"""Run by the Python that has openapi-spec-validator: reads {"document", "answers"} from standard input, and prints what
is wrong with the document, or with answers in its eyes, a line each."""
import json
import sys

from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator


def schema_of(document, answer):
    """The schema of an answer: that of its status, else the default one."""
    responses = document["paths"][answer["path"]][answer["method"].lower()]["responses"]
    response = responses.get(str(answer["status"]), responses["default"])
    if "$ref" in response:
        response = document["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
    return response["content"][answer["type"]]["schema"]


def main():
    given = json.load(sys.stdin)
    document = given["document"]
    faults = ["document: %s at %s" % (e.message, "/".join(map(str, e.absolute_path)))
              for e in OpenAPIV31SpecValidator(document).iter_errors()]
    for answer in given["answers"]:
        schema = dict(schema_of(document, answer), components=document["components"])
        checker = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
        faults += ["%s %s: %s at %s" % (answer["method"], answer["path"], e.message,
                                        "/".join(map(str, e.absolute_path)))
                   for e in checker.iter_errors(answer["body"])]
    print("\n".join(faults))


if __name__ == "__main__":
    main()
