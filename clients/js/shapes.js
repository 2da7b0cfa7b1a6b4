// What types of the wire are made of.

export const list = (of) => ({ list: of });
export const option = (of) => ({ option: of });
export const array = (length) => ({ array: length });
export const struct = (fields) => ({ struct: Object.entries(fields) });
export const frame = (number, fields) => ({ number, type: struct(fields) });
