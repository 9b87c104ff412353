import { Document, isScalar, visit } from 'yaml'

/** As JSON. What is shorter is written in one line. */
const MAX_LINE_LENGTH = 120

/** The text of `openapi.yaml`: short maps and lists stand in one line, and so does a list of names, however long. */
export const openApiText = (openApi: object): string => {
  const document = new Document(openApi, { aliasDuplicateObjects: false })
  visit(document, {
    Collection: (_key, node) => {
      const isListOfNames = node.items.every(item => isScalar(item))
      if (isListOfNames || JSON.stringify(node).length <= MAX_LINE_LENGTH) node.flow = true
    },
  })
  return document.toString({ lineWidth: 0, indentSeq: false, flowCollectionPadding: false })
}
