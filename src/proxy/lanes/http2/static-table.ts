/**
 * Which fields does every HTTP/2 client know by number (RFC 7541 appendix A)?
 * Owns: the static table, as fields for the decoder and as numbers of names for the encoder.
 * Never: changes.
 */
import { Field, FieldName } from "./field.ts";

const ENTRIES =
  ":authority= :method=GET :method=POST :path=/ :path=/index.html :scheme=http :scheme=https :status=200 :status=204 " +
  ":status=206 :status=304 :status=400 :status=404 :status=500 accept-charset= accept-encoding=gzip,~deflate " +
  "accept-language= accept-ranges= accept= access-control-allow-origin= age= allow= authorization= cache-control= " +
  "content-disposition= content-encoding= content-language= content-length= content-location= content-range= " +
  "content-type= cookie= date= etag= expect= expires= from= host= if-match= if-modified-since= if-none-match= " +
  "if-range= if-unmodified-since= last-modified= link= location= max-forwards= proxy-authenticate= " +
  "proxy-authorization= range= referer= refresh= retry-after= server= set-cookie= strict-transport-security= " +
  "transfer-encoding= user-agent= vary= via= www-authenticate=";

function makeFields(): readonly Field[] {
  const names = new Map<string, FieldName>();
  return ENTRIES.split(" ").map((entry) => {
    const [text = "", value = ""] = entry.replace("~", " ").split("=");
    const name = names.get(text) ?? new FieldName(text);
    names.set(text, name);
    return new Field(name, value);
  });
}

/** Number 1 is at 0. */
export const STATIC_FIELDS = makeFields();

/** The first number of each name that an answer may carry. */
export const NUMBERS: ReadonlyMap<string, number> = new Map(
  STATIC_FIELDS.map(({ name }, at): [string, number] => [name.text, at + 1]).reverse(),
);
